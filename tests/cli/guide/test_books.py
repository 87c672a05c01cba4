from dataclasses import replace

import httpx2

from gateway.cli.guide import books
from gateway.cli.guide.books import Invoice
from gateway.cli.guide.table import Row
from gateway.core.units import NanoUSD
from tests.support.sandbox import sandbox

ROWS = [
    Row("a", "gpt-image-1", 1, 2, 472, 1.0, cost=NanoUSD(18_950_000)),
    Row("b", "dall-e-2", 1, 0, None, 1.0, cost=NanoUSD(20_000_000)),
]
COST = NanoUSD(38_950_000)


def test_equal_books_say_so() -> None:
    assert books.compared(ROWS, Invoice(2, 472, COST)) == (
        True,
        "Table and sandbox's invoice: 2 images, 472 output image tokens, $0.03895: equal.",
    )


def test_a_picture_a_token_or_a_nano_dollar_too_many_is_not_equal() -> None:
    for invoice in (Invoice(3, 472, COST), Invoice(2, 473, COST), Invoice(2, 472, NanoUSD(COST + 1))):
        equal, sentence = books.compared(ROWS, invoice)
        assert not equal
        assert sentence.startswith("Table: 2 images, 472 output image tokens, $0.03895; sandbox's invoice: ")
        assert sentence.endswith("NOT EQUAL.")


def test_what_was_given_again_is_not_on_the_invoice() -> None:
    again = replace(ROWS[0], cost=NanoUSD(0), cache="hit")
    assert books.compared([*ROWS, again], Invoice(2, 472, COST))[0]


def test_a_call_whose_cost_is_not_known_is_not_equal() -> None:
    unknown = [replace(row, cost=None) for row in ROWS]

    assert not books.compared(unknown, Invoice(2, 472, COST))[0]


def test_the_price_is_told_in_dollars() -> None:
    assert "$0.84283675;" in books.price(Invoice(20, 17_828, NanoUSD(842_836_750)))


def test_the_sandboxs_invoice_is_summed_over_its_lines() -> None:
    with sandbox() as url:
        assert books.of(url) == Invoice(0, 0, NanoUSD(0))
        for model in ("gpt-image-1", "dall-e-2"):
            httpx2.post(
                f"{url}/v1/images/generations",
                headers={"authorization": "Bearer sk-any"},
                json={"model": model, "prompt": "x", "size": "1024x1024", "n": 2}
                | ({"quality": "low"} if model == "gpt-image-1" else {}),
                timeout=60,
            ).raise_for_status()

        found = books.of(url)

    assert (found.images, found.tokens) == (4, 544)
    assert found.cost > 0
