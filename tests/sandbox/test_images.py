"""The images API of the sandbox, through the official client and byte by byte."""

import base64
import io

import httpx2
import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI
from openai.types import (
    ImageEditStreamEvent,
    ImageGenStreamEvent,
    ImagesResponse,
)
from PIL import Image
from pydantic import TypeAdapter

from tests.support.sandbox_client import billed, data_url, events, invoice, opened, padded_png, png

LOW = {"model": "gpt-image-1", "prompt": "a red fox", "quality": "low", "size": "1024x1024"}


def test_a_plain_answer_has_openais_shape_and_a_picture_of_the_asked_size(http: httpx2.Client) -> None:
    answer = http.post("/v1/images/generations", json=LOW | {"size": "1536x1024", "output_format": "webp"})

    shown = ImagesResponse.model_validate_json(answer.content, strict=True)
    assert set(answer.json()) == {
        "created",
        "background",
        "data",
        "output_format",
        "quality",
        "size",
        "usage",
    }
    assert (shown.size, shown.quality, shown.background, shown.output_format) == (
        "1536x1024",
        "low",
        "opaque",
        "webp",
    )
    assert shown.usage is not None
    assert shown.usage.output_tokens == 400
    assert shown.usage.output_tokens_details is not None
    assert shown.usage.output_tokens_details.image_tokens == 400
    picture = opened(answer.json()["data"][0]["b64_json"])
    assert (picture.size, picture.format) == ((1536, 1024), "WEBP")


def test_the_routes_are_served_without_v1_too(http: httpx2.Client) -> None:
    assert http.post("/images/generations", json=LOW).status_code == 200


@pytest.mark.parametrize(("partials", "tokens"), [(0, 272), (1, 372), (2, 472)])
def test_each_partial_image_adds_a_hundred_output_tokens(
    client: OpenAI, http: httpx2.Client, partials: int, tokens: int
) -> None:
    """The figures recorded from the API: 272 plain, 372 and 472 with one and two partial images."""
    stream = client.images.generate(
        model="gpt-image-1",
        prompt="a red fox",
        quality="low",
        size="1024x1024",
        stream=True,
        partial_images=partials,
    )
    seen = list(stream)

    assert [event.type for event in seen] == ["image_generation.partial_image"] * partials + [
        "image_generation.completed"
    ]
    last = seen[-1]
    assert last.type == "image_generation.completed"
    assert last.usage.output_tokens == tokens
    assert invoice(http)["lines"][0]["tokens"]["output_image"] == tokens


def test_a_stream_is_frames_of_event_and_data_without_a_done(http: httpx2.Client) -> None:
    answer = http.post("/v1/images/generations", json=LOW | {"stream": True, "partial_images": 2})

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "[DONE]" not in answer.text
    found = events(answer.text)
    for event in found:
        TypeAdapter(ImageGenStreamEvent).validate_python(event, strict=True)
    assert [event.get("partial_image_index") for event in found] == [0, 1, None]
    assert set(found[0]) == {
        "type", "b64_json", "created_at", "size", "quality", "background", "output_format", "partial_image_index",
    }  # fmt: skip
    assert set(found[2]) == {
        "type", "b64_json", "created_at", "size", "quality", "background", "output_format", "usage",
    }  # fmt: skip
    assert "output_tokens_details" not in found[2]["usage"]


def test_a_stream_ends_with_the_picture_that_the_plain_call_gives(http: httpx2.Client) -> None:
    plain = http.post("/v1/images/generations", json=LOW).json()["data"][0]["b64_json"]
    streamed = events(
        http.post("/v1/images/generations", json=LOW | {"stream": True, "partial_images": 1}).text
    )

    assert streamed[-1]["b64_json"] == plain
    assert streamed[0]["b64_json"] != plain
    assert opened(streamed[0]["b64_json"]).size == (1024, 1024)


def test_several_pictures_of_one_prompt_differ_and_are_billed_each(http: httpx2.Client) -> None:
    answer = http.post("/v1/images/generations", json=LOW | {"n": 3}).json()

    assert len({one["b64_json"] for one in answer["data"]}) == 3
    assert answer["usage"]["output_tokens"] == 3 * 272
    # Three words are three tokens, read once for each picture, and six around them.
    assert answer["usage"]["input_tokens"] == 3 * 3 + 6
    assert invoice(http)["images"] == 3


def test_what_is_left_to_auto_is_resolved_to_high_and_square(http: httpx2.Client) -> None:
    answer = http.post("/v1/images/generations", json={"model": "gpt-image-2", "prompt": "a red fox"}).json()

    assert (answer["quality"], answer["size"], answer["usage"]["output_tokens"]) == (
        "high",
        "1024x1024",
        7024,
    )


def test_newer_models_take_any_size_within_their_limits(http: httpx2.Client) -> None:
    body = {"model": "gpt-image-2", "prompt": "a red fox", "quality": "low", "size": "1536x864"}

    answer = http.post("/v1/images/generations", json=body).json()

    assert answer["usage"]["output_tokens"] == 120
    assert opened(answer["data"][0]["b64_json"]).size == (1536, 864)


def test_a_form_with_several_images_is_an_edit_of_them_all(client: OpenAI, http: httpx2.Client) -> None:
    answer = client.images.edit(
        model="gpt-image-2",
        image=[("a.png", png((1024, 1024))), ("b.png", png((1536, 1024), (0, 90, 200)))],
        prompt="in one basket",
        quality="low",
        size="1024x1024",
    )

    assert answer.usage is not None
    # 1024x1024 has 1024 patches of 32 pixels, 1536x1024 has 1536.
    assert answer.usage.input_tokens_details.image_tokens == 1024 + 1536
    assert invoice(http)["lines"][0]["tokens"]["input_image"] == 2560


def test_an_edit_shows_what_it_was_made_from(client: OpenAI) -> None:
    def edited(colour: tuple[int, int, int]) -> tuple[int, int, int]:
        answer = client.images.edit(
            model="gpt-image-1",
            image=png((256, 256), colour),
            prompt="a fox",
            quality="low",
            size="1024x1024",
        )
        assert answer.data is not None
        picture = opened(answer.data[0].b64_json or "").resize((1, 1))
        red, green, blue = picture.convert("RGB").getpixel((0, 0))  # type: ignore[misc]  # Pillow's union of modes
        return red, green, blue

    from_red, from_blue = edited((230, 20, 20)), edited((20, 20, 230))

    assert from_red[0] > from_blue[0] + 60
    assert from_blue[2] > from_red[2] + 60


def test_an_edit_with_a_mask_repaints_only_what_is_transparent(client: OpenAI) -> None:
    mask = opened(base64.b64encode(png((1024, 1024), (0, 0, 0, 255))).decode())
    mask.paste((0, 0, 0, 0), (0, 0, 512, 1024))
    answer = client.images.edit(
        model="gpt-image-1.5",
        image=png((1024, 1024), (10, 200, 10)),
        mask=_encoded(mask),
        prompt="a planet",
        quality="low",
        size="1024x1024",
    )

    assert answer.data is not None
    picture = opened(answer.data[0].b64_json or "").convert("RGB")
    kept = picture.crop((512, 0, 1024, 1024)).getcolors()
    assert kept == [(512 * 1024, (10, 200, 10))]
    repainted = picture.crop((0, 0, 512, 1024)).getcolors(1 << 20)
    assert repainted is not None
    assert len(repainted) > 100


def _encoded(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_an_edit_can_name_its_images_in_json_by_file_and_by_url(
    client: OpenAI, http: httpx2.Client, url: str
) -> None:
    uploaded = client.files.create(file=("fox.png", png((512, 512))), purpose="vision")
    references = [
        {"file_id": uploaded.id},
        {"image_url": data_url(png())},
        {"image_url": f"{url}/_sandbox/images/a-lake-256x256.png"},
    ]
    body = {"model": "gpt-image-1", "prompt": "a fox", "quality": "low", "images": references}

    answer = http.post("/v1/images/edits", json=body)

    assert answer.status_code == 200
    assert answer.json()["usage"]["input_tokens_details"]["image_tokens"] == 3 * 194


def test_an_image_by_a_foreign_url_is_not_fetched(http: httpx2.Client) -> None:
    references = [{"image_url": "https://example.com/_sandbox/images/fox.png"}]

    answer = http.post(
        "/v1/images/edits", json={"model": "gpt-image-1", "prompt": "a fox", "images": references}
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "failed_to_download_image")


def test_an_edit_streams_events_of_its_own_family(http: httpx2.Client) -> None:
    fields = {
        "model": "gpt-image-1",
        "prompt": "a fox",
        "quality": "low",
        "stream": "true",
        "partial_images": "1",
    }

    answer = http.post(
        "/v1/images/edits", data=fields, files={"image": ("upload", png(), "application/octet-stream")}
    )

    found = events(answer.text)
    for event in found:
        TypeAdapter(ImageEditStreamEvent).validate_python(event, strict=True)
    assert [event["type"] for event in found] == ["image_edit.partial_image", "image_edit.completed"]


def test_sixteen_images_pass_and_the_seventeenth_is_too_many(http: httpx2.Client) -> None:
    def edit(count: int) -> httpx2.Response:
        parts = [
            ("image[]", ("upload", padded_png(200_000), "application/octet-stream")) for _ in range(count)
        ]
        fields = {"model": "gpt-image-1", "prompt": "a fox", "quality": "low"}
        return http.post("/v1/images/edits", data=fields, files=parts)

    assert edit(16).json()["usage"]["input_tokens_details"]["image_tokens"] == 16 * 194
    assert edit(17).status_code == 400


def test_an_image_of_49_megabytes_is_read(http: httpx2.Client) -> None:
    fields = {"model": "gpt-image-1", "prompt": "a fox", "quality": "low"}

    answer = http.post("/v1/images/edits", data=fields, files={"image": padded_png(49 << 20)})

    assert answer.status_code == 200


def test_dall_e_answers_by_url_without_usage_and_is_billed_by_picture(
    client: OpenAI, http: httpx2.Client
) -> None:
    answer = client.images.generate(model="dall-e-3", prompt="a fox", size="1792x1024", quality="hd")

    assert answer.usage is None
    assert answer.data is not None
    assert answer.data[0].revised_prompt is not None
    link = answer.data[0].url or ""
    assert "?se=" in link
    assert opened(base64.b64encode(httpx2.get(link).content).decode()).size == (1792, 1024)
    assert invoice(http)["nano_dollars"] == 120_000_000


def test_variations_of_an_image_differ_from_each_other(client: OpenAI, http: httpx2.Client) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        answer = client.images.create_variation(image=png(), n=2, size="256x256", response_format="b64_json")

    assert answer.data is not None
    assert answer.data[0].b64_json != answer.data[1].b64_json
    assert opened(answer.data[0].b64_json or "").size == (256, 256)
    assert invoice(http)["nano_dollars"] == 2 * 16_000_000


async def test_the_asynchronous_client_streams_too(url: str) -> None:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0) as client:
        stream = await client.images.generate(
            model="gpt-image-1", prompt="a red fox", quality="low", stream=True, partial_images=1
        )
        kinds = [event.type async for event in stream]

    assert kinds == ["image_generation.partial_image", "image_generation.completed"]


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"model": "no-such-model"}, "model", "invalid_value"),
        ({"model": "gpt-5"}, "model", "invalid_value"),
        ({"size": "1000x1000"}, "size", "invalid_value"),
        ({"model": "gpt-image-2", "size": "1000x1000"}, "size", "invalid_value"),
        ({"model": "gpt-image-2", "size": "4096x1024"}, "size", "invalid_value"),
        ({"quality": "max"}, "quality", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 11}, "n", "invalid_value"),
        ({"n": "1"}, "n", "invalid_type"),
        ({"n": 2, "stream": True}, "n", "unsupported_parameter"),
        ({"response_format": "b64_json"}, "response_format", "unknown_parameter"),
        ({"output_format": "bmp"}, "output_format", "invalid_value"),
        ({"output_compression": 101}, "output_compression", "invalid_value"),
        ({"partial_images": 4}, "partial_images", "invalid_value"),
        ({"background": "transparent", "output_format": "jpeg"}, "background", "invalid_value"),
        ({"output_format": "gif", "stream": True}, "stream", "unsupported_parameter"),
        ({"output_format": "svg", "n": 2}, "n", "unsupported_parameter"),
        ({"prompt": "a forbidden-by-sandbox fox"}, None, "moderation_blocked"),
    ],
)
def test_a_wrong_call_is_refused_in_openais_words_and_costs_nothing(
    http: httpx2.Client, change: dict[str, object], param: str | None, code: str
) -> None:
    answer = http.post("/v1/images/generations", json=LOW | change)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)
    assert {"message", "type", "param", "code"} <= set(error)
    assert invoice(http)["requests"] == 0


def test_a_blocked_prompt_names_the_stage_the_categories_and_the_request(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.images.generate(model="gpt-image-1", prompt="forbidden-by-sandbox")

    error = caught.value
    assert error.request_id is not None
    assert error.request_id in error.message
    assert isinstance(error.body, dict)
    assert error.body["moderation_details"] == {"moderation_stage": "input", "categories": ["other"]}
    assert error.type == "image_generation_user_error"


@pytest.mark.parametrize(
    ("files", "param"),
    [
        ({}, "image"),
        ({"image": b"no image"}, "image"),
        ({"image": png((64, 64)), "mask": png((32, 32), (0, 0, 0, 0))}, "mask"),
        ({"image": png((64, 64)), "mask": png((64, 64))}, "mask"),
    ],
)
def test_an_edit_without_a_good_image_or_mask_is_refused(
    http: httpx2.Client, files: dict[str, bytes], param: str
) -> None:
    parts = {name: ("upload", data) for name, data in files.items()} or {"other": ("upload", b"x")}

    answer = http.post("/v1/images/edits", data={"model": "gpt-image-1", "prompt": "a fox"}, files=parts)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_gif_has_as_many_frames_as_asked(http: httpx2.Client) -> None:
    body = LOW | {"output_format": "gif", "frame_count": 3, "frame_duration_ms": 120}

    picture = opened(http.post("/v1/images/generations", json=body).json()["data"][0]["b64_json"])

    assert (picture.format, getattr(picture, "n_frames", 1), picture.info["duration"]) == ("GIF", 3, 120)


def test_an_svg_bills_its_author_apart(http: httpx2.Client) -> None:
    body = LOW | {"output_format": "svg", "svg": {"model": "gpt-5"}}

    answer = http.post("/v1/images/generations", json=body).json()

    assert base64.b64decode(answer["data"][0]["b64_json"]).startswith(b"<svg ")
    author = next(line for line in invoice(http)["lines"] if line["kind"] == "svg")
    assert author["model"] == answer["svg_usage"]["model"] == "gpt-5"
    assert author["tokens"]["output_text"] == answer["svg_usage"]["output_tokens"]


def test_who_leaves_a_stream_is_billed_the_input_and_what_was_delivered(http: httpx2.Client) -> None:
    steering = {"x-sandbox": "partials=16; delay_ms=8000"}
    body = LOW | {"stream": True, "partial_images": 1}
    with http.stream("POST", "/v1/images/generations", json=body, headers=steering) as answer:
        for chunk in answer.iter_raw():
            if b"\n\n" in chunk:
                break

    found = billed(http, 1)
    assert found["images"] == 0
    assert found["lines"][0]["tokens"]["output_image"] == 100
    # Nine input tokens at $5 and a hundred output tokens at $40 per million.
    assert found["nano_dollars"] == 9 * 5_000 + 100 * 40_000


def test_who_leaves_a_plain_call_is_billed_all_of_it(http: httpx2.Client) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        http.post("/v1/images/generations", json=LOW, headers={"x-sandbox": "delay_ms=400"}, timeout=0.2)

    found = billed(http, 1)
    assert (found["images"], found["nano_dollars"]) == (1, 9 * 5_000 + 272 * 40_000)
