import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.limits import (
    MAX_AMOUNT_USD,
    MAX_COUNT,
    NUSD_PER_USD,
    Limit,
    Unit,
    Window,
    fits_doubles,
    parse_limit,
)

USD = NUSD_PER_USD


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ("$500 per month", Limit(500 * USD, Unit.USD, Window.MONTH)),
        ("500 usd per month", Limit(500 * USD, Unit.USD, Window.MONTH)),
        ("500 dollars a month", Limit(500 * USD, Unit.USD, Window.MONTH)),
        ("$ 500 USD/month", Limit(500 * USD, Unit.USD, Window.MONTH)),
        ("$0.50 per day", Limit(USD // 2, Unit.USD, Window.DAY)),
        ("$0.000000001 per week", Limit(1, Unit.USD, Window.WEEK)),
        ("$1,234.56 per week", Limit(1_234_560_000_000, Unit.USD, Window.WEEK)),
        ("$100 total", Limit(100 * USD, Unit.USD, Window.TOTAL)),
        ("$100 in total", Limit(100 * USD, Unit.USD, Window.TOTAL)),
        ("20 images per minute", Limit(20, Unit.IMAGES, Window.MINUTE)),
        ("1 image per minute", Limit(1, Unit.IMAGES, Window.MINUTE)),
        ("20.0 images per minute", Limit(20, Unit.IMAGES, Window.MINUTE)),
        ("200000 image_tokens per day", Limit(200_000, Unit.IMAGE_TOKENS, Window.DAY)),
        ("200_000 image tokens per day", Limit(200_000, Unit.IMAGE_TOKENS, Window.DAY)),
        ("200,000 image-tokens per day", Limit(200_000, Unit.IMAGE_TOKENS, Window.DAY)),
        ("1000000 tokens per hour", Limit(1_000_000, Unit.TOKENS, Window.HOUR)),
        ("60 requests per minute", Limit(60, Unit.REQUESTS, Window.MINUTE)),
        ("2 requests / second", Limit(2, Unit.REQUESTS, Window.SECOND)),
        ("4 concurrent", Limit(4, Unit.CONCURRENT, None)),
        ("4 concurrent requests", Limit(4, Unit.CONCURRENT, None)),
        ("4 concurrent soft", Limit(4, Unit.CONCURRENT, None, soft=True)),
        ("  $5 Per Day  Soft ", Limit(5 * USD, Unit.USD, Window.DAY, soft=True)),
    ],
)
def test_a_limit_is_understood_as_people_say_it(said: str, limit: Limit) -> None:
    assert parse_limit(said) == limit


@pytest.mark.parametrize(
    ("said", "canonical"),
    [
        ("500.00 usd per month", "$500 per month"),
        ("$0.5 per day", "$0.50 per day"),
        ("$0.1250 per day", "$0.125 per day"),
        ("1 images a minute", "1 image per minute"),
        ("2 image per minute", "2 images per minute"),
        ("1 image tokens per day", "1 image_token per day"),
        ("200,000 image_tokens per day soft", "200000 image_tokens per day soft"),
        ("4 concurrent requests soft", "4 concurrent soft"),
        ("$100 in total", "$100 total"),
    ],
)
def test_every_limit_has_one_canonical_sentence(said: str, canonical: str) -> None:
    assert parse_limit(said).text == canonical


@pytest.mark.parametrize(
    ("said", "fragments"),
    [
        ("", ["does not begin with an amount", '"$500 per month"']),
        ("lots of images", ["does not begin with an amount"]),
        ("-5 images per day", ["does not begin with an amount"]),
        ("€500 per month", ["US dollars"]),
        ("20", ["the amount 20, but not of what", '"20 images per minute"']),
        ("20 imags per minute", ['"imags" is not a unit', 'did you mean "images"', "concurrent"]),
        ("20 widgets per minute", ['"widgets" is not a unit', "image_tokens"]),
        ("20 images", ["says 20 images, but not in what time", '"20 images per day"', '"20 images total"']),
        ("$20", ["says $20, but not in what time", '"$20 per day"']),
        ("1000 images per 1 hour", ['"per 1 hour" is not a time', '"1000 images per hour"']),
        ("20 images per fortnight", ['"per fortnight" is not a time', "week or month"]),
        ("20 images per total", ['"per total" is not a time']),
        ("20 images per minutes", ['"per minutes" is not a time', '"20 images per minute"']),
        ("20 images per minute hard", ["is not a time"]),
        ("4 concurrent per minute", ['"per minute" has no meaning', '"4 concurrent"']),
        ("4 concurrent images", ["counts requests"]),
        ("20.5 images per minute", ["images are counted in whole numbers"]),
        ("1.5 concurrent", ["requests are counted in whole numbers", '"4 concurrent"']),
        ("$0,50 per day", ['"0,50" is not an amount', "decimals follow"]),
        ("1,00,000 images per day", ['"1,00,000" is not an amount']),
        ("$0.0000000001 per day", ["nano-dollar"]),
        ("$0 per day", ["a limit of 0"]),
        ("0 concurrent", ["a limit of 0"]),
        ("$1000000001 per month", ["larger than the largest limit, $1000000000"]),
        ("1000000000000001 images total", ["larger than the largest limit"]),
        ("9" * 5000 + " images per day", ["is not an amount"]),
        ("soft", ["does not begin with an amount"]),
    ],
)
def test_anything_else_is_refused_with_what_was_understood_and_a_good_example(
    said: str, fragments: list[str]
) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_limit(said)

    message = str(refusal.value)
    assert all(fragment in message for fragment in fragments), message
    assert "A good one:" in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("amount", "unit", "window"),
    [
        (0, Unit.USD, Window.DAY),
        (-1, Unit.IMAGES, Window.DAY),
        (MAX_COUNT + 1, Unit.IMAGES, Window.DAY),
        (MAX_AMOUNT_USD * USD + 1, Unit.USD, Window.DAY),
        (1, Unit.IMAGES, None),
        (1, Unit.CONCURRENT, Window.DAY),
    ],
)
def test_a_limit_that_no_sentence_says_cannot_be_made(amount: int, unit: Unit, window: Window | None) -> None:
    with pytest.raises(ValueError):
        Limit(amount, unit, window)


def amounts(unit: Unit) -> st.SearchStrategy[int]:
    return st.integers(1, MAX_AMOUNT_USD * USD if unit is Unit.USD else MAX_COUNT)


limits = st.one_of(
    st.builds(Limit, amounts(Unit.CONCURRENT), st.just(Unit.CONCURRENT), st.none(), st.booleans()),
    st.sampled_from([unit for unit in Unit if unit is not Unit.CONCURRENT]).flatmap(
        lambda unit: st.builds(Limit, amounts(unit), st.just(unit), st.sampled_from(Window), st.booleans())
    ),
)


@given(limit=limits)
def test_the_canonical_sentence_reads_back_as_the_same_limit(limit: Limit) -> None:
    assert parse_limit(limit.text) == limit


words = st.sampled_from(
    ["$", "5", "1,000", "0.5", "images", "usd", "concurrent", "per", "/", "day", "total", "soft", "x"]
)


@given(said=st.one_of(st.text(max_size=60), st.lists(words, max_size=7).map(" ".join)))
def test_any_text_is_a_limit_with_a_stable_sentence_or_a_value_error(said: str) -> None:
    read = limit_or_refusal(said)

    if isinstance(read, Limit):
        assert parse_limit(read.text) == read
    else:
        assert "is not a limit" in read
        good = re.findall('"([^"]+)"', read.partition("A good one:")[2])
        assert good
        assert all(parse_limit(example) for example in good)


def limit_or_refusal(said: str) -> Limit | str:
    try:
        return parse_limit(said)
    except ValueError as refusal:
        return str(refusal)


def test_money_up_to_what_a_double_holds_exactly_fits_doubles_and_every_count_does() -> None:
    assert fits_doubles(parse_limit("$9000000 per month"))
    assert not fits_doubles(parse_limit("$9000000.01 per month"))
    assert fits_doubles(Limit(MAX_COUNT, Unit.TOKENS, Window.TOTAL))
