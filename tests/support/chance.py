"""
Any call that a client may make, with any fault of the upstream: what a proof of the accounting runs over.

Strategies that shrink: towards one plain generation that nobody disturbs.
"""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from tests.support.errands import Errand, How
from tests.support.sandbox_client import data_url, png

PROMPTS = ("a fox", "ein Füchslein 🦊 in a blue and silent winter wood " * 6)
"""Few, as are sizes and qualities: the sandbox draws a picture once and keeps it."""
TABLE = tuple(
    {"model": model, "size": "1024x1024", "quality": "low"}
    for model in ("gpt-image-1", "gpt-image-1.5", "gpt-image-1-mini")
)
FORMULA = tuple(
    {"model": model, "size": "1024x640", "quality": quality}
    for model, quality in (
        ("gpt-image-2", "low"),
        ("gpt-image-2.5-flare", "xhigh"),
        ("gpt-image-2.6-sunburst", "low"),  # a factor over another model's
        ("gpt-image-77", "low"),  # not known, priced as the dearest of its family
    )
)
MODELS = (*TABLE, *FORMULA)
SOURCE = data_url(png((96, 64)))
IN_TIME = ("fail=500", "moderate=input")
"""The call is refused, whole and in time."""
RETRIED = ("fail=500", "fail=503", "fail=504")
"""Refusals that the SDK takes for worth another attempt."""
PLAIN_FAULTS = (
    *("usage=omit",) * 3,  # as often as the refusals, which cost nothing
    "usage=no_details",
    *IN_TIME,
    "moderate=output",
    "fail=504",
    "fail=mid-stream",
    "fail=lost",
    "fail=before",
)
STREAM_FAULTS = (
    "usage=without_surcharge",
    "partials=1",
    "partials=3",
    "fail=error-event",
    *PLAIN_FAULTS,
)
TIERS = ("auto", "default", "priority", "flex")
HANG = "fail=hang"


def _maybe(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    """None of them, or one; both as often."""
    return st.just(()) | st.sampled_from([(value,) for value in values])


@st.composite
def pictures(draw: st.DrawFn) -> Errand:
    """Generations and edits, by JSON and by form, plain and streamed, of every kind of model."""
    body: dict[str, Any] = {"prompt": draw(st.sampled_from(PROMPTS)), **draw(st.sampled_from(MODELS))}
    path = draw(st.sampled_from(("images/generations", "images/edits")))
    form = path == "images/edits" and draw(st.booleans())
    if path == "images/edits" and not form:
        body["images"] = [{"image_url": SOURCE}] * draw(st.integers(1, 2))
    if draw(st.booleans()):
        body |= {"stream": True, "partial_images": draw(st.integers(0, 3))}
        return Errand(path, body, draw(_maybe(STREAM_FAULTS)), form)
    plain: tuple[dict[str, Any], ...] = (
        {},
        {"n": 2},
        {"n": 3, "partial_images": 2},
        {"output_format": "jpeg"},
        # Its author is named: of a call that was cut nobody knows who was to write it, and the dearest is charged.
        {"output_format": "svg", "svg": {"model": "gpt-5.4"}},
    )
    body |= draw(st.sampled_from(plain if path == "images/generations" else plain[:-1]))
    return Errand(path, body, draw(_maybe(PLAIN_FAULTS)), form)


@st.composite
def by_the_picture(draw: st.DrawFn) -> Errand:
    """Models that are paid by the picture."""
    path, model, size, n = draw(
        st.sampled_from(
            (
                ("images/generations", "dall-e-2", "256x256", 2),
                ("images/generations", "dall-e-3", "1024x1024", 1),
                ("images/variations", "dall-e-2", "256x256", 2),
                ("images/edits", "dall-e-2", "256x256", 1),
            )
        )
    )
    body = {"model": model, "size": size, "n": n}
    if path != "images/variations":
        body["prompt"] = "a fox"
    faults = draw(_maybe((*IN_TIME, "fail=mid-stream", "fail=lost")))
    return Errand(path, body, faults, path != "images/generations")


@st.composite
def responses(draw: st.DrawFn) -> Errand:
    """Responses with the image tool, plain and streamed, with any number of image calls."""
    stream = draw(st.booleans())
    tool: dict[str, Any] = {"type": "image_generation", **draw(st.sampled_from(MODELS))}
    if stream:
        tool["partial_images"] = draw(st.integers(0, 3))
    text = draw(st.sampled_from(PROMPTS))
    seen = [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": SOURCE}]
    body: dict[str, Any] = {
        "model": draw(st.sampled_from(("gpt-5", "gpt-5.4", "gpt-4.1"))),
        "input": text if draw(st.booleans()) else [{"role": "user", "content": seen}],
        "tools": [tool],
    }
    if stream:
        body["stream"] = True
    if draw(st.booleans()):
        body["service_tier"] = draw(st.sampled_from(TIERS))
    if draw(st.booleans()):
        body["max_output_tokens"] = draw(st.sampled_from((90, 500)))
    faults = draw(_maybe(("tool_usage=omit", *(STREAM_FAULTS if stream else PLAIN_FAULTS))))
    calls = draw(st.sampled_from((None, 0, 2, 3)))
    if calls is not None:
        faults = (*faults, f"image_calls={calls}")
        body["max_tool_calls"] = max(1, calls)
    then = draw(st.sampled_from(("", "", "go on"))) if faults == () else ""
    return Errand("responses", body, faults, then=then)


@st.composite
def backgrounds(draw: st.DrawFn) -> Errand:
    """Responses in the background, whose clients come back in every way there is, or not at all."""
    made = draw(responses())
    faults = tuple(one for one in made.faults if one not in {"fail=error-event", "fail=mid-stream"})
    delay = draw(_maybe(("delay_ms=100",)))
    stream = made.body.get("stream", False)
    then = draw(
        st.sampled_from(
            (
                "",
                "poll",
                "look often",
                "poll and delete",
                "cancel",
                "delete",
                *(("resume",) if stream else ()),
            )
        )
    )
    body = {**made.body, "background": True}
    leave = draw(st.integers(1, 6)) if stream and draw(st.booleans()) else None
    return Errand("responses", body, faults + delay, leave=leave, then=then, finish=draw(st.booleans()))


def others() -> st.SearchStrategy[Errand]:
    """Words only, a conversation made short, tokens counted."""
    bodies = st.sampled_from(PROMPTS).map(lambda text: {"model": "gpt-5", "input": text})
    paths = st.sampled_from(("responses", "responses/compact", "responses/input_tokens"))
    return st.builds(Errand, paths, bodies, _maybe(IN_TIME))


@st.composite
def left(draw: st.DrawFn) -> Errand:
    """Calls whose clients leave, at any event; the key says what becomes of them then."""
    made = draw(st.one_of(pictures(), responses()))
    return replace(
        made,
        then="",
        faults=made.faults + draw(_maybe(("delay_ms=100",))),
        leave=draw(st.integers(0, 5)),
        finish=draw(st.booleans()),
    )


@st.composite
def hung(draw: st.DrawFn) -> Errand:
    """Calls that never get an answer: their clients wait for the gateway's error, or leave."""
    made = draw(st.one_of(pictures(), by_the_picture(), responses()))
    return replace(
        made,
        then="",
        faults=(HANG,),
        leave=draw(st.sampled_from((None, 0))),
        finish=draw(st.booleans()),
        hurried=True,
    )


@st.composite
def retried(draw: st.DrawFn) -> Errand:
    """Calls of the official SDK that fail, or take longer than it waits: it makes them again, and again."""
    made = draw(st.one_of(pictures(), responses()))
    unknown_to_it = {"images", "svg", "output_format"}
    body = {name: value for name, value in made.body.items() if name not in unknown_to_it}
    form = made.path == "images/edits"
    made = replace(made, body=body, form=form, then="", sdk=True, finish=draw(st.booleans()))
    if draw(st.booleans()):
        return replace(made, faults=(draw(st.sampled_from(RETRIED)),))
    fault = draw(st.sampled_from((HANG, "delay_ms=400")))
    others_ = tuple(one for one in made.faults if one.startswith("image_calls"))
    return replace(made, faults=(fault, *others_), limit_s=0.2, hurried=fault == HANG)


def sequences(most: int) -> st.SearchStrategy[list[Errand]]:
    """So many calls at most, about half of it: each place is empty or not, so that all of them shrink alike."""
    places = st.tuples(*(st.none() | errands() for _ in range(most)))
    return places.map(lambda found: [one for one in found if one is not None])


@st.composite
def errands(draw: st.DrawFn) -> Errand:
    """Any of them, sent in any pieces; a picture may come out other than it was asked for."""
    made: Errand = draw(
        st.one_of(
            pictures(), responses(), backgrounds(), others(), by_the_picture(), left(), hung(), retried()
        )
    )
    faults = made.faults + draw(_maybe(("chunk=4096",)))
    by_token = not str(made.body.get("model")).startswith("dall-e")  # those do not say what they drew
    if made.how is How.EQUAL and by_token and draw(st.booleans()):
        faults += (draw(st.sampled_from(("quality_out=medium", "size_out=1536x1024"))),)
    return replace(made, faults=faults)
