from dataclasses import replace

import pytest

from gateway.core.artefact import Form
from gateway.core.call import read_json
from gateway.core.errors import Refused
from gateway.core.freshness import Reason, Rules
from gateway.core.headers import Header
from gateway.core.routes import match
from gateway.core.strictjson import loads
from gateway.flow.exchange import Arrival
from gateway.flow.wanted import Terms, Wanted, content_of_json, wanted
from tests.support.gateway import principal

TERMS = Terms(
    life=Rules(
        ttl_s=60, alias_ttl_s=10, stale_if_error_s=0, max_entry_bytes=1 << 20, trust_remote_urls=False
    ),
    scope="team",
    owner="team",
    base_url="https://up/v1",
)


def asked(
    body: bytes,
    *headers: Header,
    route: str = "/v1/images/generations",
    team: str = "team",
    terms: Terms = TERMS,
) -> Wanted:
    arrival = Arrival("igr_1", "POST", route, b"", headers, 0.0)
    found = match("POST", route)
    assert found is not None
    value = loads(body)
    assert isinstance(value, dict)
    call = read_json(found, value)
    content = content_of_json(call, value, terms, whole=True)
    return wanted(arrival, call, content, principal(team=team), "default", terms)


PICTURE = b'{"model": "gpt-image-2", "prompt": "a cat"}'


def test_what_depends_on_nothing_but_itself_has_a_key() -> None:
    plain = asked(PICTURE)
    assert plain.key is not None
    assert (plain.form, plain.bypass) == (Form(), None)
    assert asked(b'{"prompt": "a cat", "model": "gpt-image-2"}') == plain


def test_a_stream_of_the_same_has_the_same_key_and_another_form() -> None:
    streamed = asked(PICTURE[:-1] + b', "stream": true, "partial_images": 2}')
    assert (streamed.key, streamed.form) == (asked(PICTURE).key, Form(stream=True, partial_images=2))


@pytest.mark.parametrize(
    "other",
    [
        asked(PICTURE, team="another"),
        asked(PICTURE, (b"x-imagegate-seed", b"two")),
        asked(PICTURE, (b"openai-beta", b"x")),
        asked(PICTURE, terms=replace(TERMS, base_url="https://elsewhere/v1")),
        asked(PICTURE, terms=replace(TERMS, accounts={"default": ("org-1", None)})),
        asked(PICTURE, (b"x-sandbox", b"delay_ms=1"), terms=replace(TERMS, sandbox=True)),
        asked(PICTURE[:-1] + b', "user": "me"}'),
    ],
)
def test_whatever_an_answer_depends_on_or_is_confined_to_moves_the_key(other: Wanted) -> None:
    assert other.key not in {None, asked(PICTURE).key}


def test_steering_counts_for_a_sandbox_only() -> None:
    assert asked(PICTURE, (b"x-sandbox", b"delay_ms=1")).key == asked(PICTURE).key


def test_ignored_fields_do_not_count() -> None:
    ignoring = replace(TERMS, ignore_fields=frozenset({"user"}))
    assert asked(PICTURE[:-1] + b', "user": "me"}', terms=ignoring).key == asked(PICTURE, terms=ignoring).key


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (asked(PICTURE, (b"cache-control", b"no-store")), Reason.NO_STORE),
        (asked(b'{"model":"gpt-5","input":"x"}', route="/v1/responses"), Reason.TEMPERATURE),
        (
            asked(b'{"model":"gpt-5","input":"x","background":true}', route="/v1/responses"),
            Reason.BACKGROUND,
        ),
    ],
)
def test_what_goes_past_the_cache_has_no_key_and_a_reason(found: Wanted, reason: Reason) -> None:
    assert (found.key, found.bypass) == (None, reason)


def test_a_seed_that_is_none_is_refused() -> None:
    with pytest.raises(Refused):
        asked(PICTURE, (b"x-imagegate-seed", b"x" * 200))


KEY = (b"idempotency-key", b"once")


def test_a_key_of_the_client_stands_for_all_that_the_client_sent() -> None:
    plain = asked(PICTURE, KEY).once
    assert plain is not None
    assert asked(PICTURE).once is None
    assert asked(b'{"prompt": "a cat", "model": "gpt-image-2"}', KEY).once == plain
    for other in (
        asked(PICTURE[:-1] + b', "stream": true}', KEY),
        asked(PICTURE[:-1] + b', "user": "me"}', KEY),
        asked(PICTURE, KEY, (b"x-imagegate-seed", b"two")),
        asked(PICTURE, KEY, (b"openai-beta", b"x")),
    ):
        assert other.once is not None
        assert (other.once.name, other.once.fingerprint != plain.fingerprint) == (plain.name, True)


@pytest.mark.parametrize(
    "changed",
    [
        replace(TERMS, base_url="https://elsewhere/v1"),
        replace(TERMS, accounts={"default": ("org-1", None)}),
        replace(TERMS, scope="org"),
        replace(TERMS, ignore_fields=frozenset({"user"})),
        replace(TERMS, enabled=False),
    ],
)
def test_and_for_nothing_that_an_operator_may_change(changed: Terms) -> None:
    assert asked(PICTURE, KEY, terms=changed).once == asked(PICTURE, KEY).once


def test_a_key_is_its_owners() -> None:
    mine, theirs = asked(PICTURE, KEY).once, asked(PICTURE, KEY, team="another").once
    assert mine is not None
    assert theirs is not None
    assert mine.name != theirs.name
    assert mine.fingerprint == theirs.fingerprint


def test_without_a_cache_there_is_the_key_alone() -> None:
    found = asked(PICTURE, KEY, terms=replace(TERMS, enabled=False))
    assert (found.key, found.bypass) == (None, None)
    assert found.once is not None
