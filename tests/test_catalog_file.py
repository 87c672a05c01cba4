import tomllib
from decimal import Decimal

import pytest

from gateway.catalog_file import TextModel, names_of, nearest, read

TEXT = """
[[model]]
names = ["writer"]
kind = "text"
input_image_max_tokens = 10
[[model.price]]
input_text = 1
output_text = 2.5
"""
IMAGE = """
[[model]]
names = ["painter"]
kind = "image"
rule = "r"
auto_max_tokens = 10
input_image_max_tokens = 10
qualities = ["low"]
sizes = { multiple_of = 16, max_edge = 3840, max_ratio = 3, min_pixels = 1, max_pixels = 2 }
[[model.price]]
input_text = 1
output_image = 2
"""


def faults_of(text: str) -> list[str]:
    return read("f.toml", tomllib.loads(text, parse_float=Decimal))[1]


def test_a_good_file_has_a_shape_and_no_fault() -> None:
    shape, faults, left_out = read("f.toml", tomllib.loads(TEXT + IMAGE, parse_float=Decimal))

    assert faults == []
    assert left_out == set()
    writer = shape.model[0]
    assert isinstance(writer, TextModel)
    assert writer.price[0].output_text == 2_500_000


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[toolz]", "unknown key 'toolz'; did you mean 'tools'?"),
        (
            "☃ = 1".replace("☃", '"☃"'),
            "unknown key '☃'; the keys here are defaults, family, model, rule, tiers, tools",
        ),
        (
            '[defaults]\n"images.edit" = "a"',
            "defaults: unknown key 'images.edit'; did you mean 'images.edits'?",
        ),
        ("[tiers]\ntxt = {}", "tiers: unknown key 'txt'; did you mean 'text'?"),
        ('[[family]]\nmach = "a"', "family number 1: unknown key 'mach'; did you mean 'match'?"),
        (
            TEXT.replace("input_image_max_tokens", "input_image_max_token"),
            "model 'writer': unknown key 'input_image_max_token'; did you mean 'input_image_max_tokens'?",
        ),
        (
            TEXT + "cached_txt = 1\n",
            "model 'writer': price 1: unknown key 'cached_txt'; did you mean 'cached_text'?",
        ),
        (
            TEXT.replace("[[model.price]]", "long_input = { ower = 1 }\n[[model.price]]"),
            "model 'writer': long_input: unknown key 'ower'; did you mean 'over'?",
        ),
        (
            IMAGE.replace("max_edge", "max_egde"),
            "model 'painter': sizes: unknown key 'max_egde'; did you mean 'max_edge'?",
        ),
        (
            '[[rule]]\nname = "r"\nkind = "formula"\nbasis = {}',
            "rule 'r': unknown key 'basis'; did you mean 'base'?",
        ),
        (
            '[[family]]\nmatch = "a"\npriced_as = "b"\nsizes = { max_egde = 1 }',
            "family 'a': sizes: unknown key 'max_egde'; did you mean 'max_edge'?",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(text: str, fault: str) -> None:
    assert f"f.toml: {fault}" in faults_of(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (TEXT.replace("output_text = 2.5", ""), "model 'writer': price 1: 'output_text' is missing; add it"),
        (
            TEXT.replace('kind = "text"', ""),
            "model 'writer': 'kind' has to be one of 'image', 'per_image', 'text'",
        ),
        (
            TEXT.replace('"text"', '"txt"'),
            "model 'writer': 'kind' has to be one of 'image', 'per_image', 'text'",
        ),
        ('[[rule]]\nname = "r"', "rule 'r': 'kind' has to be one of 'table', 'formula', 'factor', 'largest'"),
        (TEXT.replace("2.5", '"2.5"'), "model 'writer': price 1: output_text: should be a number, not '2.5'"),
        (TEXT.replace("2.5", "true"), "model 'writer': price 1: output_text: should be a number, not True"),
        (TEXT.replace("2.5", "-2.5"), "model 'writer': price 1: output_text: -2.5 is negative"),
        (
            TEXT.replace("2.5", "2.0000001"),
            "model 'writer': price 1: output_text: 2.0000001 is finer than 0.000001",
        ),
        (
            TEXT.replace("[[model.price]]", "tiers = { flex = 200 }\n[[model.price]]"),
            "model 'writer': tiers: flex: should be a factor above 0 and at most 100, not 200",
        ),
        (
            IMAGE.replace(
                "{ multiple_of = 16, max_edge = 3840, max_ratio = 3, min_pixels = 1, max_pixels = 2 }",
                '["1x"]',
            ),
            "model 'painter': sizes 1: should be a size such as \"1024x1536\", not '1x'",
        ),
        (
            '[[rule]]\nname = "r"\nkind = "table"\ntokens = { low = { "1k" = 1 } }',
            "rule 'r': tokens: low: 1k: should be a size such as \"1024x1536\", not '1k'",
        ),
        (
            '[[rule]]\nname = "r"\nkind = "factor"\nof = "s"\nfactor = { low = 1.5 }',
            "rule 'r': factor: low: input should be a valid integer",
        ),
        ("model = 3", "model: input should be a valid list"),
        (
            "model = [3]",
            "model number 1: input should be a valid dictionary or object to extract fields from",
        ),
        ("[tools]\nweb_search = inf", "tools: web_search: Infinity is not a number"),
    ],
)
def test_a_wrong_value_is_named_by_where_it_stands(text: str, fault: str) -> None:
    assert faults_of(text) == [f"f.toml: {fault}"]


def test_all_faults_of_a_file_are_found() -> None:
    assert len(faults_of(TEXT.replace("2.5", "true").replace("10", "0") + "[tools]\nx = -1\n")) == 3


def test_a_word_like_none_of_the_known_has_no_nearest() -> None:
    assert nearest("gpt-5", ["gpt-4", "o3"]) == "; did you mean 'gpt-4'?"
    assert nearest("☃", ["gpt-4", "o3"]) == ""


def test_what_is_sound_of_a_file_with_faults_is_read_all_the_same() -> None:
    text = (
        TEXT.replace("2.5", "true") + IMAGE + TEXT.replace("2.5", "-1") + "[tools]\nx = -1\ny = 1\n[toolz]\n"
    )

    shape, faults, left_out = read("f.toml", tomllib.loads(text, parse_float=Decimal))

    assert len(faults) == 4
    assert [model.names for model in shape.model] == [["painter"]]
    assert shape.tools == {"y": 10**12}
    assert left_out == {"writer", "x"}


def test_an_entry_goes_by_its_name_or_its_names() -> None:
    assert names_of({"names": ["a", "b"]}) == {"a", "b"}
    assert names_of({"name": "a"}) == {"a"}
    assert names_of({"names": 3}) == names_of(3) == set()
