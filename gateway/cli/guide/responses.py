"""The guide's calls of the Responses API. Output image tokens are those of the image tool, apart from the mainline's."""

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from gateway.cli.guide.step import Answer, Desk, NotPossibleError, Step, Want

if TYPE_CHECKING:
    from openai.types.responses import Response, ResponseInputImageParam
    from openai.types.responses.response_output_item import ImageGenerationCall


def generate(desk: Desk) -> Answer:
    """A picture from a conversation; the first turn of what follows."""
    response = desk.client.responses.create(
        model="gpt-5",
        input="Generate an image of gray tabby cat hugging an otter with an orange scarf in a forest",
        tools=[{"type": "image_generation", "action": "generate", "quality": "low"}],
    )
    desk.first_turn = response
    return answered(response, "generate")


def by_response_id(desk: Desk) -> Answer:
    """A second turn that names the first."""
    first = desk.turn()
    response = desk.client.responses.create(
        model="gpt-5",
        previous_response_id=first.id,
        input="Now make it look realistic, on a winter night",
        tools=[{"type": "image_generation", "quality": "low"}],
    )
    answer = answered(response, "edit")
    if response.previous_response_id == first.id:
        return answer
    return replace(
        answer, faults=(*answer.faults, f"it follows {response.previous_response_id}, not {first.id}")
    )


def by_image_id(desk: Desk) -> Answer:
    """A second turn that names the first one's picture."""
    response = desk.client.responses.create(
        model="gpt-5",
        input=[
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "Now make it look like stained glass"}],
            },
            # The id is all that the guide sends; the SDK's type asks for the whole item.
            {"type": "image_generation_call", "id": drawn(desk.turn())[0].id},  # type: ignore[list-item, misc]
        ],
        tools=[{"type": "image_generation", "quality": "low"}],
    )
    return answered(response, "edit")


def streamed(desk: Desk) -> Answer:
    """A picture that is seen while it is made, with a model of its own for the tool."""
    partials: list[tuple[int, bytes]] = []
    final: Response | None = None
    with desk.client.responses.create(
        model="gpt-5",
        input="Draw a gorgeous image of a river made of white owl feathers, snaking its way through a serene landscape",
        tools=[
            {
                "type": "image_generation",
                "model": "gpt-image-1",
                "quality": "medium",
                "size": "1536x1024",
                "partial_images": 2,
            }
        ],
        stream=True,
    ) as stream:
        for event in stream:
            match event.type:
                case "response.image_generation_call.partial_image":
                    picture = base64.b64decode(event.partial_image_b64)
                    desk.arrived(event.partial_image_index, picture)
                    partials.append((event.partial_image_index, picture))
                case "response.completed":
                    final = event.response
                case _:
                    continue
    if final is None:
        raise NotPossibleError("the stream ended without response.completed")
    return replace(answered(final, "generate"), partials=tuple(partials))


def input_by_url(desk: Desk) -> Answer:
    """A picture that the API fetches itself: the sandbox draws it from its name."""
    return _from_picture(
        desk,
        {
            "type": "input_image",
            "detail": "auto",
            "image_url": f"{desk.sandbox}/_sandbox/images/golden-meadow-768x512.webp",
        },
    )


def input_by_data_url(desk: Desk) -> Answer:
    """A picture that comes within the call."""
    encoded = base64.b64encode(desk.earlier(1)[0].read_bytes()).decode()
    return _from_picture(
        desk,
        {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{encoded}"},
    )


def input_by_file_id(desk: Desk) -> Answer:
    """A picture that was uploaded before."""
    uploaded = desk.client.files.create(file=desk.earlier(2)[1], purpose="vision")
    return _from_picture(desk, {"type": "input_image", "detail": "auto", "file_id": uploaded.id})


def _from_picture(desk: Desk, picture: "ResponseInputImageParam") -> Answer:
    response = desk.client.responses.create(
        model="gpt-5",
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Put this picture under a sky of cherry blossom"},
                    picture,
                ],
            }
        ],
        tools=[{"type": "image_generation", "action": "edit", "quality": "low"}],
    )
    return answered(response, "edit")


def drawn(response: "Response") -> "list[ImageGenerationCall]":
    """The image calls of a response."""
    return [item for item in response.output if item.type == "image_generation_call"]


def answered(response: "Response", action: Literal["generate", "edit"]) -> Answer:
    """
    What a finished response says.

    Args:
        response: as it came.
        action: what the image tool had to do: `edit` shows that it had the earlier picture.
    """
    calls = drawn(response)
    wrong = [] if response.status == "completed" else [f"the response is {response.status}"]
    for call in calls:
        if call.status != "completed":
            wrong.append(f"the image call is {call.status}")
        elif call.action != action:
            wrong.append(f"the image call's action is {call.action}, not {action}")
    usage = response.tool_usage
    return Answer(
        pictures=tuple(base64.b64decode(call.result or "") for call in calls),
        tokens=usage.image_gen.output_tokens if usage else None,
        size=calls[0].size if calls else None,
        quality=calls[0].quality if calls else None,
        faults=tuple(wrong),
    )


def steps(tool_model: str) -> tuple[Step, ...]:
    """
    In the order in which they are made: the follow-ups name the first, the inputs are earlier pictures.

    Args:
        tool_model: what the image tool uses where a call names no model; it moves with time.
    """
    low = Want("1024x1024", "low", tool_model)
    return (
        Step("Responses, generate", "gpt-5", generate, low),
        Step("Responses, by response id", "gpt-5", by_response_id, low),
        Step("Responses, by image id", "gpt-5", by_image_id, low),
        Step(
            "Responses, streamed", "gpt-5", streamed, Want("1536x1024", "medium", "gpt-image-1", partials=2)
        ),
        Step("Responses, input by URL", "gpt-5", input_by_url, low),
        Step("Responses, input by data URL", "gpt-5", input_by_data_url, low),
        Step("Responses, input by file id", "gpt-5", input_by_file_id, low),
    )
