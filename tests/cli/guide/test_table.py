import io

from rich.console import Console

from gateway.cli.guide.table import WIDTH, Row, grouped, table, total_cost, total_tokens
from gateway.core.units import NanoUSD

ROWS = [
    Row("generate", "gpt-image-2", 1, 0, 1756, 1.44, cost=NanoUSD(52_775_000)),
    Row("Responses, input by data URL", "gpt-5", 1, 2, 984, 0.5, cost=NanoUSD(12_000_000_000)),
    Row("variation", "dall-e-2", 1, 0, None, 0.1, cost=NanoUSD(18_004_999)),
    Row("edit, [mask]", "gpt-image-1", 0, 0, None, 0.2, ("APIConnectionError: Connection error.",)),
]


def lines(width: int = WIDTH) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(table(ROWS))
    return out.getvalue().splitlines()


def row_of(words: str) -> list[str]:
    return next(line for line in lines() if words in line).split()


def test_a_call_has_its_row() -> None:
    assert row_of("generate") == [
        "✓",
        "01",
        "generate",
        "gpt-image-2",
        "1",
        "–",
        "1",
        "756",
        "–",
        "0.05278",
        "1.4",
        "s",
    ]


def test_a_cost_is_shown_to_a_thousandth_of_a_cent() -> None:
    assert row_of("data URL")[-3] == "12.00000"
    assert row_of("variation")[-3] == "0.01800"


def test_a_model_billed_by_picture_has_no_tokens() -> None:
    assert row_of("variation")[5:-3] == ["–", "per", "image", "–"]


def test_a_failed_call_is_marked_and_names_no_tokens_and_no_cost() -> None:
    row = row_of("edit, [mask]")

    assert row[0] == "✗"
    assert row[-5:-2] == ["–", "–", "–"]


def test_the_last_line_has_the_totals() -> None:
    assert row_of("worked") == [
        "3",
        "of",
        "4",
        "worked",
        "3",
        "2",
        "2",
        "740",
        "0",
        "hits",
        "12.07078",
        "2.2",
        "s",
    ]
    assert total_tokens(ROWS) == 2740
    assert total_cost(ROWS) == 12_070_779_999


def test_what_the_cache_gave_is_marked_and_its_time_told_in_milliseconds() -> None:
    given = Row("again", "gpt-image-2", 1, 0, 1756, 0.008, cost=NanoUSD(0), cache="hit")
    made = Row("made", "gpt-image-2", 1, 0, 1756, 1.0, cost=NanoUSD(1), cache="miss")
    out = io.StringIO()
    Console(file=out, width=WIDTH).print(table([given, made]))
    text = out.getvalue()
    again, first = (
        next(line for line in text.splitlines() if word in line).split() for word in ("again", "made")
    )
    assert again[-4:] == ["hit", "0.00000", "8", "ms"]
    assert first[-4] == "–"
    assert "1 hit " in text


def test_it_fits_a_terminal() -> None:
    assert max(map(len, lines(width=300))) <= WIDTH


def test_thousands_are_set_apart() -> None:
    assert [grouped(1), grouped(1234), grouped(1234567)] == ["1", "1 234", "1 234 567"]
