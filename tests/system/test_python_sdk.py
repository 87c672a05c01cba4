"""The official SDK for Python against a real gateway: it changes `base_url` and key, and notices nothing else."""

import base64
import io
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from typing import Any

import openai
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent, ImagesResponse
from openai.types.responses import Response, ResponseCompletedEvent
from openai.types.responses.response_output_item import ImageGenerationCall
from PIL import Image

from tests.support.process import KEY
from tests.system.conftest import Pair

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("python-sdk")]
TOOL: dict[str, Any] = {"type": "image_generation", "quality": "low", "size": "1024x1024"}


@pytest.fixture
def client(pair: Pair) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=pair.base_url, api_key=KEY, max_retries=0) as sdk:
        yield sdk


@pytest.fixture
async def aclient(pair: Pair) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=pair.base_url, api_key=KEY, max_retries=0) as sdk:
        yield sdk


@pytest.fixture
def direct(pair: Pair) -> Iterator[openai.OpenAI]:
    """The same SDK, straight to the sandbox: what the answers should be."""
    with openai.OpenAI(base_url=f"{pair.sandbox.url}/v1", api_key="sk-any", max_retries=0) as sdk:
        yield sdk


def opened(picture: str | None) -> Image.Image:
    assert picture is not None
    image = Image.open(io.BytesIO(base64.b64decode(picture)))
    image.load()
    return image


def png(colour: str, mode: str = "RGB") -> tuple[str, bytes, str]:
    file = io.BytesIO()
    Image.new(mode, (64, 64), colour).save(file, "PNG")
    return f"{colour}.png", file.getvalue(), "image/png"


def created(client: openai.OpenAI, **fields: Any) -> Any:
    """`client.responses.create` with tools as plain dictionaries: their types lag behind what is on the wire."""
    return client.responses.create(**fields)


async def acreated(client: openai.AsyncOpenAI, **fields: Any) -> Any:
    return await client.responses.create(**fields)


def drawn(response: Response) -> list[ImageGenerationCall]:
    return [item for item in response.output if isinstance(item, ImageGenerationCall)]


class TestImages:
    def test_generate(self, client: openai.OpenAI, direct: openai.OpenAI) -> None:
        def ask(sdk: openai.OpenAI) -> ImagesResponse:
            return sdk.images.generate(
                model="gpt-image-1", prompt="a fox", quality="low", size="1024x1536", n=2
            )

        ours, theirs = ask(client), ask(direct)
        assert ours.data is not None
        assert len(ours.data) == 2
        assert opened(ours.data[0].b64_json).size == (1024, 1536)
        assert ours.usage is not None
        assert ours.usage.output_tokens == 816
        assert ours.to_dict() | {"created": 0} == theirs.to_dict() | {"created": 0}

    def test_generate_webp(self, client: openai.OpenAI) -> None:
        answer = client.images.generate(
            model="gpt-image-2", prompt="a fox", quality="low", output_format="webp", output_compression=40
        )
        assert answer.data is not None
        assert opened(answer.data[0].b64_json).format == "WEBP"

    @pytest.mark.parametrize("partial_images", [0, 1, 3])
    def test_stream(self, client: openai.OpenAI, partial_images: int) -> None:
        with client.images.generate(
            model="gpt-image-1",
            prompt="a fox",
            quality="low",
            size="1024x1024",
            stream=True,
            partial_images=partial_images,
        ) as stream:
            *partials, last = list(stream)
        assert all(isinstance(event, ImageGenPartialImageEvent) for event in partials)
        assert [
            event.partial_image_index for event in partials if event.type == "image_generation.partial_image"
        ] == [*range(partial_images)]
        assert isinstance(last, ImageGenCompletedEvent)
        assert last.usage.output_tokens == 272 + 100 * partial_images
        assert opened(last.b64_json).size == (1024, 1024)

    def test_edit_with_several_references(self, client: openai.OpenAI) -> None:
        images = [png(colour) for colour in ("red", "green", "blue", "yellow")]
        answer = client.images.edit(
            model="gpt-image-1", image=images, prompt="a basket", quality="low", input_fidelity="high"
        )
        assert answer.data is not None
        assert answer.usage is not None
        assert answer.usage.input_tokens_details.image_tokens > 0
        opened(answer.data[0].b64_json)

    def test_edit_with_a_mask(self, client: openai.OpenAI) -> None:
        answer = client.images.edit(
            model="gpt-image-1",
            image=png("red"),
            mask=png("#00000000", "RGBA"),
            prompt="a pool",
            quality="low",
        )
        assert answer.data is not None
        opened(answer.data[0].b64_json)

    def test_edit_streamed(self, client: openai.OpenAI) -> None:
        with client.images.edit(
            model="gpt-image-1",
            image=png("red"),
            prompt="a pool",
            quality="low",
            stream=True,
            partial_images=2,
        ) as stream:
            kinds = [event.type for event in stream]
        assert kinds == ["image_edit.partial_image", "image_edit.partial_image", "image_edit.completed"]

    def test_variation(self, client: openai.OpenAI) -> None:
        with pytest.deprecated_call():
            answer = client.images.create_variation(
                model="dall-e-2", image=png("red"), response_format="b64_json", size="256x256"
            )
        assert answer.data is not None
        assert opened(answer.data[0].b64_json).size == (256, 256)

    def test_dall_e_3_by_url(self, client: openai.OpenAI) -> None:
        answer = client.images.generate(model="dall-e-3", prompt="a fox", size="1024x1024")
        assert answer.data is not None
        assert (answer.data[0].url or "").startswith("http://127.0.0.1")
        assert answer.data[0].revised_prompt

    async def test_async(self, aclient: openai.AsyncOpenAI) -> None:
        answer = await aclient.images.generate(model="gpt-image-2", prompt="a fox", quality="low")
        assert answer.data is not None
        opened(answer.data[0].b64_json)
        stream = await aclient.images.generate(
            model="gpt-image-2", prompt="a fox", quality="low", stream=True, partial_images=2
        )
        assert [event.type async for event in stream] == [
            "image_generation.partial_image",
            "image_generation.partial_image",
            "image_generation.completed",
        ]
        edited = await aclient.images.edit(
            model="gpt-image-2", image=[png("red"), png("blue")], prompt="x", quality="low"
        )
        assert edited.data is not None


class TestResponses:
    def test_create_and_follow_up_by_response_id(self, client: openai.OpenAI) -> None:
        first = created(client, model="gpt-5", input="draw a fox", tools=[{**TOOL, "action": "generate"}])
        assert opened(drawn(first)[0].result).size == (1024, 1024)
        second = created(
            client,
            model="gpt-5",
            input="make it blue",
            previous_response_id=first.id,
            tools=[TOOL],
        )
        assert second.previous_response_id == first.id
        assert drawn(second)[0].result != drawn(first)[0].result

    def test_follow_up_by_image_id(self, client: openai.OpenAI) -> None:
        first = created(client, model="gpt-5", input="draw a fox", tools=[TOOL])
        second = created(
            client,
            model="gpt-5",
            input=[
                {"role": "user", "content": [{"type": "input_text", "text": "make it blue"}]},
                {"type": "image_generation_call", "id": drawn(first)[0].id},
            ],
            tools=[TOOL],
        )
        assert len(drawn(second)) == 1

    def test_stream(self, client: openai.OpenAI) -> None:
        with created(
            client,
            model="gpt-5",
            input="draw a fox",
            stream=True,
            tools=[{**TOOL, "model": "gpt-image-1", "partial_images": 2}],
        ) as stream:
            events = list(stream)
        assert all(
            later.sequence_number == earlier.sequence_number + 1 for earlier, later in pairwise(events)
        )
        kinds = [event.type for event in events]
        assert kinds[:2] == ["response.created", "response.in_progress"]
        assert kinds.count("response.image_generation_call.partial_image") == 2
        assert isinstance(events[-1], ResponseCompletedEvent)
        usage = events[-1].response.tool_usage
        assert usage is not None
        assert usage.image_gen.output_tokens == 472

    def test_inputs_by_data_url_and_file(self, client: openai.OpenAI) -> None:
        name, content, _ = png("red")
        file = client.files.create(file=(name, content), purpose="vision")
        data_url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        for part in ({"image_url": data_url}, {"file_id": file.id}):
            answer = created(
                client,
                model="gpt-5",
                input=[
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_text", "text": "make it a pool"},
                            {"type": "input_image", "detail": "auto", **part},
                        ],
                    }
                ],
                tools=[{**TOOL, "action": "edit"}],
            )
            assert drawn(answer)[0].action == "edit"

    def test_what_is_kept_upstream_can_be_reached(self, client: openai.OpenAI) -> None:
        made = created(client, model="gpt-5", input="draw a fox", tools=[TOOL])
        assert client.responses.retrieve(made.id).id == made.id
        assert client.responses.input_items.list(made.id).data
        counted = client.responses.input_tokens.count(model="gpt-5", input="draw a fox")
        assert counted.input_tokens > 0
        client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)

    def test_background(self, client: openai.OpenAI) -> None:
        made = created(client, model="gpt-5", input="draw a fox", background=True, tools=[TOOL])
        while made.status in {"queued", "in_progress"}:
            made = client.responses.retrieve(made.id)
        assert made.status == "completed"
        assert drawn(made)

    def test_a_background_stream_can_be_resumed(self, client: openai.OpenAI) -> None:
        with created(
            client,
            model="gpt-5",
            input="draw a fox",
            background=True,
            stream=True,
            tools=[TOOL],
        ) as stream:
            events = list(stream)
        first = events[0]
        assert first.type == "response.created"
        with client.responses.retrieve(first.response.id, stream=True, starting_after=3) as resumed:
            assert [event.sequence_number for event in resumed] == [
                event.sequence_number for event in events[4:]
            ]

    def test_compact(self, client: openai.OpenAI) -> None:
        assert client.responses.compact(model="gpt-5", input="a long talk").usage.total_tokens > 0

    async def test_async(self, aclient: openai.AsyncOpenAI) -> None:
        made = await acreated(aclient, model="gpt-5", input="draw a fox", tools=[TOOL])
        assert drawn(made)
        stream = await acreated(aclient, model="gpt-5", input="draw a fox", stream=True, tools=[TOOL])
        kinds = [event.type async for event in stream]
        assert kinds[-1] == "response.completed"


class TestTheRest:
    def test_files(self, client: openai.OpenAI) -> None:
        content = bytes(range(256)) * 20_000
        made = client.files.create(file=("big.png", content), purpose="vision")
        assert made.bytes == len(content)
        assert client.files.retrieve(made.id).filename == "big.png"
        assert made.id in [one.id for one in client.files.list(purpose="vision")]
        assert client.files.content(made.id).content == content
        assert client.files.delete(made.id).deleted

    def test_conversations(self, client: openai.OpenAI) -> None:
        made = client.conversations.create(items=[{"type": "message", "role": "user", "content": "hello"}])
        assert client.conversations.retrieve(made.id).id == made.id
        client.conversations.update(made.id, metadata={"a": "b"})
        client.conversations.items.create(
            made.id, items=[{"type": "message", "role": "user", "content": "again"}]
        )
        items = list(client.conversations.items.list(made.id, order="asc"))
        assert len(items) == 2
        assert items[0].id is not None
        client.conversations.items.retrieve(items[0].id, conversation_id=made.id)
        client.conversations.items.delete(items[0].id, conversation_id=made.id)
        assert client.conversations.delete(made.id).deleted

    def test_models(self, client: openai.OpenAI, pair: Pair) -> None:
        assert "gpt-image-2" in [model.id for model in client.models.list()]
        assert client.models.retrieve("gpt-image-2").id == "gpt-image-2"
        with openai.OpenAI(base_url=pair.base_url, api_key="sk-narrow", max_retries=0) as narrow:
            assert all(model.id.startswith(("gpt-image-1", "gpt-5")) for model in narrow.models.list())
            with pytest.raises(openai.PermissionDeniedError):
                narrow.models.retrieve("gpt-image-2")

    def test_the_base_url_may_lack_v1(self, pair: Pair) -> None:
        with openai.OpenAI(base_url=pair.gateway.url, api_key=KEY, max_retries=0) as sdk:
            assert sdk.models.retrieve("gpt-image-2").id == "gpt-image-2"

    def test_the_answers_head_tells_both_ids(self, client: openai.OpenAI) -> None:
        raw = client.images.with_raw_response.generate(model="gpt-image-2", prompt="a fox", quality="low")
        assert raw.headers["x-imagegate-id"].startswith("igr_")
        assert raw.request_id is not None
        assert raw.request_id.startswith("req_")
        assert "openai-version" in raw.headers
        for dropped in (
            "set-cookie",
            "alt-svc",
            "strict-transport-security",
            "openai-organization",
            "openai-project",
        ):
            assert dropped not in raw.headers
        assert not [name for name in raw.headers if name.startswith("x-ratelimit")]


class TestErrors:
    def test_a_wrong_key(self, pair: Pair) -> None:
        with (
            openai.OpenAI(base_url=pair.base_url, api_key="sk-wrong") as sdk,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            sdk.images.generate(prompt="a fox")
        assert caught.value.code == "invalid_api_key"

    def test_what_is_not_allowed(self, pair: Pair) -> None:
        with openai.OpenAI(base_url=pair.base_url, api_key="sk-narrow") as sdk:
            with pytest.raises(openai.PermissionDeniedError) as caught:
                sdk.images.generate(model="gpt-image-1", prompt="a fox", n=2)
            assert (caught.value.code, caught.value.param) == ("not_allowed", "n")
            with pytest.raises(openai.PermissionDeniedError) as caught:
                created(sdk, model="gpt-5", input="x", tools=[{**TOOL, "model": "gpt-image-2"}])
            assert caught.value.param == "tools[0].model"

    def test_the_upstreams_own_refusal_passes(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            client.images.generate(model="gpt-image-1", prompt="a fox", stream=True, n=2)
        assert caught.value.code == "unsupported_parameter"

    @pytest.mark.parametrize("status", [400, 429, 500, 503])
    def test_every_upstream_error_passes(self, client: openai.OpenAI, status: int) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            client.images.generate(
                prompt="a fox", model="gpt-image-1", extra_headers={"X-Sandbox": f"fail=status={status}"}
            )
        assert caught.value.status_code == status

    def test_a_stream_cut_upstream_is_an_error_here(self, client: openai.OpenAI) -> None:
        with (
            pytest.raises(openai.APIConnectionError),
            client.images.generate(
                model="gpt-image-1",
                prompt="a fox",
                quality="low",
                stream=True,
                partial_images=2,
                extra_headers={"X-Sandbox": "fail=mid-stream"},
            ) as stream,
        ):
            list(stream)

    def test_an_error_event_passes(self, client: openai.OpenAI) -> None:
        with (
            pytest.raises(openai.APIError),
            client.images.generate(
                model="gpt-image-1",
                prompt="a fox",
                quality="low",
                stream=True,
                extra_headers={"X-Sandbox": "fail=error-event"},
            ) as stream,
        ):
            list(stream)
