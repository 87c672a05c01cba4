"""
What a response used so far, how it reports that, and what it is billed.

What is billed (docs/sandbox.md says it for readers): a response that reached its end costs its mainline tokens and all
its pictures. One that was ended early costs the pictures finished by then, and for the one that was not, its input and
the partial images delivered if there were any; a partial counts as delivered when the listener says so.
"""

from dataclasses import dataclass
from typing import Final

from gateway.sandbox import tariff
from gateway.sandbox.context import seen_tokens
from gateway.sandbox.images import lines_of, usage_of
from gateway.sandbox.invoice import Line, text_line
from gateway.sandbox.plan import Plan
from gateway.sandbox.steer import Steering
from gateway.sandbox.tokens import text_tokens
from gateway.sandbox.words import caption, pieces

# What the image tool's description adds to the mainline prompt, and what a call of it adds to the output.
_TOOL_TOKENS: Final = 255
_CALL_TOKENS: Final = 24
_REASONING_TOKENS: Final = 64
_FRAME_TOKENS: Final = 16
_CACHE_STEP: Final = 128


@dataclass(slots=True)
class Tally:
    """
    The counts of one response.

    Args:
        finished: pictures finished.
        partials: paid partial images of the finished pictures.
        open_partials: paid partial images of the picture in the making.
        whole: the response reached its end.
    """

    plan: Plan
    finished: int = 0
    partials: int = 0
    open_partials: int = 0
    whole: bool = False

    def finish(self) -> None:
        """The picture in the making is finished."""
        self.finished += 1
        self.partials += self.open_partials
        self.open_partials = 0

    def text(self) -> str:
        """What the mainline model says, as far as `max_output_tokens` lets it."""
        text, room = self._caption(), self._room()
        if room is None or text_tokens(text) <= room:
            return text
        return "".join(pieces(text, room))

    def cut_short(self) -> bool:
        """Whether `max_output_tokens` ends the response before its words."""
        room = self._room()
        return room is not None and self._said_tokens() > room

    def main_tokens(self) -> dict[str, int]:
        """The mainline model's tokens: every finished picture is shown to it once more."""
        context, order = self.plan.context, self.plan.order
        seen = self.finished * seen_tokens(order.look.size) if order is not None else 0
        read = context.carried_tokens + context.fresh_tokens + _FRAME_TOKENS + seen
        written = self._thought_tokens() + self._said_tokens()
        return {
            "input_text": read + (_TOOL_TOKENS if self.plan.offers_images else 0),
            # What the turns before had is served from the prompt cache, in whole steps.
            "cached_text": context.carried_tokens // _CACHE_STEP * _CACHE_STEP,
            "output_text": min(written, self.plan.max_output or written),
        }

    def image_tokens(self) -> dict[str, int]:
        """The image model's tokens for what was finished and delivered."""
        order = self.plan.order
        if order is None:
            return dict.fromkeys(("input_text", "input_image", "output_image"), 0)
        begun = self.finished + (1 if self.open_partials else 0)
        one = usage_of(order, 1, 0)
        partials = tariff.SURCHARGE * (self.partials + self.open_partials)
        return {
            "input_text": one["input_text"] * begun,
            "input_image": one["input_image"] * begun,
            "output_image": one["output_image"] * self.finished + partials,
        }

    def shown_usage(self) -> dict[str, object]:
        """`usage`: the mainline model only."""
        tokens = self.main_tokens()
        reasoning = _REASONING_TOKENS if self.plan.reasons else 0
        return {
            "input_tokens": tokens["input_text"],
            "input_tokens_details": {"cached_tokens": tokens["cached_text"], "cache_write_tokens": 0},
            "output_tokens": tokens["output_text"],
            "output_tokens_details": {"reasoning_tokens": min(tokens["output_text"], reasoning)},
            "total_tokens": tokens["input_text"] + tokens["output_text"],
        }

    def shown_tool(self, steering: Steering) -> dict[str, object]:
        """`tool_usage.image_gen`: the image model, all calls together."""
        tokens = self.image_tokens()
        read, written = tokens["input_text"] + tokens["input_image"], tokens["output_image"]
        if steering.usage == "without_surcharge":
            written -= tariff.SURCHARGE * self.partials
        found: dict[str, object] = {
            "input_tokens": read,
            "input_tokens_details": {
                "image_tokens": tokens["input_image"],
                "text_tokens": tokens["input_text"],
            },
            "output_tokens": written,
            "total_tokens": read + written,
        }
        if steering.usage != "no_details":
            found["output_tokens_details"] = {"image_tokens": written, "text_tokens": 0}
        return found

    def bill(self) -> list[Line]:
        """The lines of the charge; none if nothing is to be paid."""
        lines = [text_line(self.plan.model, self.main_tokens(), self.plan.tier)] if self.whole else []
        order = self.plan.order
        if order is not None and (self.finished or self.open_partials):
            lines.extend(lines_of(order, self.image_tokens(), self.finished))
        return lines

    def _caption(self) -> str:
        order = self.plan.order
        action = order.action if order is not None and self.plan.pictures else None
        return caption(self.plan.context.prompt, action, blocked=self.plan.blocked)

    def _room(self) -> int | None:
        limit = self.plan.max_output
        return None if limit is None else max(0, limit - self._thought_tokens())

    def _thought_tokens(self) -> int:
        return self.finished * _CALL_TOKENS + (_REASONING_TOKENS if self.plan.reasons else 0)

    def _said_tokens(self) -> int:
        return _CALL_TOKENS if self.plan.function is not None else text_tokens(self._caption())
