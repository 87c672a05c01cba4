from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.settings import values


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/St_Johns"])
def test_time_zones_have_the_names_of_the_database(name: str) -> None:
    assert TypeAdapter(values.TimeZone).validate_python(name) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Europe/Berlni", 'Did you mean "Europe/Berlin"'),
        ("utc", 'Did you mean "UTC"'),
        ("../passwd", "is not a known time zone"),
        ("Europe", "is not a known time zone"),
        ("", "is not a known time zone"),
    ],
)
def test_an_unknown_time_zone_names_the_nearest(name: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TypeAdapter(values.TimeZone).validate_python(name)


@pytest.mark.parametrize(
    "pattern",
    ["images.generations", "images.*", "files.*", "conversations.*", "*.list", "*", "responses.[cr]*"],
)
def test_routes_are_named_or_matched(pattern: str) -> None:
    assert TypeAdapter(values.RoutePattern).validate_python(pattern) == pattern


@pytest.mark.parametrize(
    "text", ["2030-01-01T01:00:00+01:00", "2030-01-01T00:00:00Z", "2030-01-01 00:00:00+00:00"]
)
def test_instants_may_be_texts(text: str) -> None:
    assert TypeAdapter(values.Instant).validate_python(text) == datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["family", "refuse", "as:gpt-image-2"])
def test_rules_for_unpriced_models(text: str) -> None:
    assert TypeAdapter(values.Unpriced).validate_python(text) == text


@pytest.mark.parametrize("text", ["as:", "as:a b", "as", "Family"])
def test_other_rules_for_unpriced_models_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="no rule"):
        TypeAdapter(values.Unpriced).validate_python(text)


@pytest.mark.parametrize("text", ["sk-a\nb", "sk-é", " sk", "sk\x7f", ""])
def test_a_secret_can_travel_in_a_header(text: str) -> None:
    with pytest.raises(ValidationError, match="a header cannot carry"):
        TypeAdapter(values.Secret).validate_python(text)
