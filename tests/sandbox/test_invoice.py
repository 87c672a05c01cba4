"""The sandbox's books."""

from gateway.sandbox import tariff
from gateway.sandbox.invoice import Books, Line, image_line, picture_line, text_line
from gateway.sandbox.tariff import Model


def model(name: str) -> Model:
    found = tariff.find(name)
    assert found is not None
    return found


def charges(lines: list[Line]) -> list[object]:
    books = Books()
    books.charge("req_1", "responses", lines)
    found = books.invoice()
    assert isinstance(found["charges"], list)
    return [found["nano_dollars"], *[one["nano_dollars"] for one in found["charges"]]]


def test_cached_input_is_part_of_the_input_and_costs_its_own_price() -> None:
    """1 000 of which 400 cached: 600 at $1.25 and 400 at $0.125 per million."""
    line = text_line(model("gpt-5"), {"input_text": 1000, "cached_text": 400, "output_text": 0})

    assert line.pico == (600 * 1_250 + 400 * 125) * 1000


def test_a_request_is_rounded_up_once_and_not_line_by_line() -> None:
    """62.5 nano-dollars each (gpt-5-nano's flex input and output would round up twice)."""
    half = text_line(model("gpt-5"), {"input_text": 1, "cached_text": 1}, "flex")
    assert half.pico == 62_500

    assert charges([half, half]) == [125, 125]
    assert charges([half]) == [63, 63]


def test_the_five_kinds_of_tokens_of_a_mixed_request() -> None:
    image = image_line(model("gpt-image-1.5"), 1, {"input_text": 20, "input_image": 194, "output_image": 372})
    main = text_line(model("gpt-5"), {"input_text": 538, "output_text": 99})

    image_nusd = 20 * 5_000 + 194 * 8_000 + 372 * 32_000
    assert charges([main, image])[0] == image_nusd + 538 * 1_250 + 99 * 10_000


def test_pictures_with_a_price_of_their_own_have_no_tokens() -> None:
    line = picture_line(model("dall-e-3"), "standard", (1024, 1024), 1)

    assert (line.tokens, charges([line])[0]) == ({}, 40_000_000)


def test_nothing_to_bill_is_no_charge() -> None:
    assert charges([]) == [0]
