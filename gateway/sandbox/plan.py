"""
What a call of the Responses API will do: which model, how many pictures, made how, and what is echoed.

Everything that can be wrong with the call is found here, before anything starts.
"""

from dataclasses import dataclass
from typing import Final

from gateway.sandbox import clock, errors, tariff
from gateway.sandbox.call import Call
from gateway.sandbox.context import Context, context_of
from gateway.sandbox.forms import Params
from gateway.sandbox.images import FORBIDDEN
from gateway.sandbox.orders import Look, Order, look_of
from gateway.sandbox.sources import mask, referenced
from gateway.sandbox.tariff import Model
from gateway.sandbox.world import World

_TOOL: Final = "image_generation"
# Input items that make further tools available, as the official SDK's types have them (openai 3.54).
_TOOL_ITEMS: Final = frozenset({"additional_tools", "tool_search_output"})
_TIERS: Final = {"auto": "default", "fast": "priority"}
_MOST_OUTPUT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What a response will be.

    Args:
        shown: the response object as it is at the beginning.
        order: how each picture is made; None where none is.
        pictures: how many image calls.
        blocked: the safety system will refuse the pictures.
        function: the function that the call forces, by name.
    """

    shown: dict[str, object]
    model: Model
    tier: str
    context: Context
    order: Order | None
    pictures: int
    blocked: bool
    function: str | None
    offers_images: bool
    max_output: int | None
    store: bool
    background: bool
    stream: bool
    obfuscate: bool

    @property
    def duration_s(self) -> float:
        """Seconds it takes at speed 1."""
        return (self.order.look.duration_s * self.pictures if self.order else 0.0) + 0.5

    @property
    def reasons(self) -> bool:
        """Whether the mainline model is one that thinks first."""
        return self.model.name.startswith(("gpt-5", "gpt-6", "o3", "o4"))


def mainline(params: Params) -> Model:
    """
    The mainline model that a call names.

    Raises:
        ApiError: 400 without one, 404 for one that is not there.
    """
    name = params.text("model")
    if name is None:
        raise errors.missing("model")
    model = tariff.find(name)
    if model is None or model.kind != "text":
        raise errors.no_model(name)
    return model


async def plan_of(world: World, call: Call) -> Plan:
    """
    The plan of this call.

    Raises:
        ApiError: whatever is wrong with it, in OpenAI's words.
    """
    params = Params(call.payload())
    model = mainline(params)
    tools, tool = _tools(params)
    context = await context_of(world, call, params)
    tool = _later_tool(context) or tool
    limit = params.number("max_tool_calls", 0, 1000)
    wanted = call.steering.image_calls if call.steering.image_calls is not None else 1
    pictures = 0 if tool is None or not _chosen(params) else wanted if limit is None else min(wanted, limit)
    order = await _order(world, call, tool, context) if tool is not None else None
    tier = params.text("service_tier") or "auto"
    background, store = params.flag("background"), params.values.get("store") is not False
    max_output = params.number("max_output_tokens", 1, _MOST_OUTPUT)
    options = params.values.get("stream_options")
    plan = Plan(
        shown={},
        model=model,
        tier=_TIERS.get(tier, tier),
        context=context,
        order=order,
        pictures=pictures,
        blocked=FORBIDDEN in context.prompt or call.steering.moderate is not None,
        function=_forced_function(params),
        offers_images=tool is not None,
        max_output=max_output,
        store=store,
        background=background,
        stream=params.flag("stream"),
        obfuscate=not (isinstance(options, dict) and options.get("include_obfuscation") is False),
    )
    plan.shown.update(_echo(world, params, plan, tools))
    return plan


def _tools(params: Params) -> tuple[list[dict[str, object]], Params | None]:
    """The tools as they are echoed, and the parameters of the image tool if there is one."""
    asked = params.values.get("tools") or []
    if not isinstance(asked, list):
        raise errors.wrong_type("tools", "an array", asked)
    shown, image = [], None
    for tool in asked:
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            raise errors.wrong_type("tools", "an array of objects with a type", tool)
        if tool["type"] == _TOOL:
            image = Params(tool)
            shown.append(_tool_echo(tool))
        elif tool["type"] == "function":
            shown.append({"description": None, "parameters": {}, "strict": True, **tool})
        else:
            shown.append(tool)
    return shown, image


def _later_tool(context: Context) -> Params | None:
    """The newest image tool that an item of the conversation brings, this call's or an earlier one's."""
    brought = [item for item in (*context.history, *context.items) if item.get("type") in _TOOL_ITEMS]
    return next(filter(None, (_tools(Params(item))[1] for item in reversed(brought))), None)


def _tool_echo(tool: dict[str, object]) -> dict[str, object]:
    """The image tool with its defaults, and the `n` that the service adds of its own accord."""
    return {
        "type": _TOOL,
        "action": "auto",
        "background": "auto",
        "model": tariff.default("image_tool"),
        "moderation": "auto",
        "n": 1,
        "output_compression": 100,
        "output_format": "png",
        "partial_images": 0,
        "quality": "auto",
        "size": "auto",
        **{key: value for key, value in tool.items() if value is not None},
    }


def _chosen(params: Params) -> bool:
    """Whether the tool choice lets the image tool be called."""
    match params.values.get("tool_choice") or "auto":
        case "auto" | "required":
            return True
        case {"type": "allowed_tools", "tools": list(tools)}:
            return any(isinstance(tool, dict) and tool.get("type") == _TOOL for tool in tools)
        case {"type": kind}:
            return bool(kind == _TOOL)
        case _:
            return False


def _forced_function(params: Params) -> str | None:
    match params.values.get("tool_choice"):
        case {"type": "function", "name": str(name)}:
            return name
        case _:
            return None


async def _order(world: World, call: Call, tool: Params, context: Context) -> Order:
    name = tool.text("model") or tariff.default("image_tool")
    model = tariff.find(name)
    if model is None or model.kind != "image":
        raise errors.ApiError(
            400,
            f"The model '{name}' does not exist.",
            type=errors.IMAGE_USER,
            param="tools",
            code="invalid_value",
        )
    look: Look = look_of(tool, model, call.steering)
    asked = tool.choice("action", ("auto", "generate", "edit"), "auto")
    if asked == "edit" and not context.sources:
        raise errors.ApiError(
            400,
            "The 'edit' action needs an image in context, and there is none.",
            type=errors.IMAGE_USER,
            param="tools",
            code="invalid_value",
        )
    sources = () if asked == "generate" else context.sources
    hole = tool.values.get("input_image_mask")
    hidden = None
    if hole is not None and sources:
        hole_data = await referenced(world, call, hole, "input_image_mask")
        hidden = (await mask(hole_data, sources[0])).data
    return Order(
        action="edit" if sources else "generate",
        look=look,
        prompt=context.prompt,
        n=1,
        stream=False,
        as_url=False,
        safety_identifier=None,
        sources=sources,
        mask=hidden,
    )


def _echo(world: World, params: Params, plan: Plan, tools: list[dict[str, object]]) -> dict[str, object]:
    """The response object at its beginning: what was asked, with the API's defaults."""
    values = params.values
    reasoning = values.get("reasoning")
    shown: dict[str, object] = {
        "id": world.ids.new("resp_"),
        "object": "response",
        "created_at": int(clock.now()),
        "status": "queued" if plan.background else "in_progress",
        "background": plan.background,
        "billing": {"payer": "developer"},
        "completed_at": None,
        "conversation": {"id": plan.context.conversation} if plan.context.conversation else None,
        "error": None,
        "incomplete_details": None,
        "model": plan.model.name,
        "output": [],
        "previous_response_id": plan.context.previous,
        "reasoning": {"effort": None, "summary": None, **(reasoning if isinstance(reasoning, dict) else {})},
        "service_tier": plan.tier,
        "store": plan.store,
        "tools": tools,
        "usage": None,
    }
    return shown | {key: values.get(key, default) for key, default in _ECHOED.items()}


_ECHOED: Final[dict[str, object]] = {
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "safety_identifier": None,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
