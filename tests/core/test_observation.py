from collections.abc import Mapping

import pytest

from gateway.core.observation import MOST_ITEMS, End, Ending, Image, Notes, Observation, Tool, unanswered
from gateway.core.record import Outcome


def notes(*events: Mapping[str, object]) -> Observation:
    found = Notes(200, stream=True)
    for event in events:
        kind = found.event(event)
        if kind:
            found.ended_by(kind)
    return found.close(Ending.CLEAN)


def call(kind: str, number: int = 0, **fields: object) -> dict[str, object]:
    return {
        "type": f"response.image_generation_call.{kind}",
        "item_id": f"ig_{number}",
        "output_index": number,
        **fields,
    }


def done(number: int, **fields: object) -> dict[str, object]:
    item = {"id": f"ig_{number}", "type": "image_generation_call", **fields}
    return {"type": "response.output_item.done", "output_index": number, "item": item}


def test_partial_images_count_for_the_image_they_belong_to() -> None:
    seen = notes(call("partial_image", 1), call("partial_image", 2), call("partial_image", 1))
    assert [image.partials for image in seen.images] == [2, 1]
    assert (seen.open, seen.interrupted, seen.finished) == (seen.images, seen.images, ())


def test_a_finished_picture_counts_whatever_its_status_says() -> None:
    seen = notes(call("generating"), done(0, status="generating", result="AAAA", size="1x1", quality="auto"))
    assert seen.images == (Image(size="1x1", finished=True),)


def test_the_same_item_in_the_last_event_is_no_second_picture() -> None:
    item = {"id": "ig_0", "type": "image_generation_call", "result": "AAAA"}
    seen = notes(done(0, result="AAAA"), {"type": "response.completed", "response": {"output": [item]}})
    assert len(seen.finished) == 1


def test_items_without_ids_are_told_apart_by_their_place() -> None:
    output = [{"type": "message"}, *({"type": "image_generation_call", "result": "A"} for _ in range(2))]
    assert len(notes({"type": "response.completed", "response": {"output": output}}).finished) == 2


def ended(*items: dict[str, object]) -> dict[str, object]:
    return {"type": "response.completed", "response": {"output": list(items)}}


ITEM: dict[str, object] = {"type": "image_generation_call", "result": "A"}


@pytest.mark.parametrize(
    "events",
    [
        (done(0, result="A"), ended(ITEM)),
        (done(0, result="A", id=5), ended({**ITEM, "id": "ig_0"})),
        (call("partial_image", item_id=None), done(0, result="A"), ended({**ITEM, "id": "ig_0"})),
        (call("partial_image", item_id=None, output_index=None), done(0, result="A")),
        (call("partial_image"), done(0, result="A", id=None), ended(ITEM)),
        (call("partial_image", item_id="x" * 200), done(0, result="A"), ended({**ITEM, "id": ""})),
    ],
    ids=["lost at the end", "odd", "late", "without a place", "early only", "too long"],
)
def test_an_id_that_comes_or_goes_makes_no_second_picture(events: tuple[dict[str, object], ...]) -> None:
    seen = notes(*events)
    assert len(seen.images) == len(seen.finished) == 1
    assert seen.images[0].partials == sum(str(one["type"]).endswith("partial_image") for one in events)


def test_two_ids_are_two_pictures_even_at_one_place() -> None:
    seen = notes(done(0, result="A"), {**done(1, result="B"), "output_index": 0})
    assert len(seen.finished) == 2


def test_an_image_that_gets_its_id_late_keeps_its_place_among_the_others() -> None:
    seen = notes(call("partial_image", 0, item_id=None), call("generating", 1), done(0, result="A"))
    assert [(image.partials, image.finished) for image in seen.images] == [(1, True), (0, False)]


def test_an_item_that_failed_is_neither_open_nor_finished() -> None:
    blocked = {"code": "moderation_blocked", "moderation_details": {"moderation_stage": "output"}}
    seen = notes(call("generating"), done(0, status="failed", result=None, error=blocked))
    assert (seen.open, seen.finished, seen.blocked) == ((), (), 1)


def test_an_error_is_read_in_both_forms_and_is_an_end() -> None:
    nested = notes({"type": "error", "error": {"code": "insufficient_quota"}})
    flat = notes({"type": "error", "code": "server_error", "message": "x"})
    bare = notes({"error": {"type": "server_error", "code": None}})
    assert [(seen.code, seen.end) for seen in (nested, flat, bare)] == [
        ("insufficient_quota", End.FAILED),
        ("server_error", End.FAILED),
        ("server_error", End.FAILED),
    ]


def test_later_events_know_better_and_what_they_leave_out_stays() -> None:
    seen = notes(
        {
            "type": "response.created",
            "response": {"id": "resp_1", "status": "in_progress", "service_tier": "auto"},
        },
        {
            "type": "response.completed",
            "response": {
                "status": "completed",
                "service_tier": "flex",
                "tools": [{"type": "image_generation", "model": "m", "partial_images": 2}],
            },
        },
    )
    assert (seen.response_id, seen.response_status, seen.service_tier) == ("resp_1", "completed", "flex")
    assert seen.tools == (Tool(model="m", partial_images=2),)


def test_images_that_follow_one_another_keep_their_partial_images() -> None:
    partial, end = {"type": "image_edit.partial_image"}, {"type": "image_edit.completed", "b64_json": "A"}
    seen = notes(partial, partial, end, partial, end)
    assert [(image.partials, image.finished) for image in seen.images] == [(2, True), (1, True)]


def test_each_picture_of_a_stream_has_its_report() -> None:
    one, two = ({"input_tokens": 1, "output_tokens": tokens} for tokens in (272, 408))
    kind = "image_generation.completed"
    seen = notes(
        {"type": kind, "b64_json": "A", "usage": one},
        {"type": kind, "b64_json": "A"},
        {"type": kind, "b64_json": "A", "usage": two},
        {"type": kind, "usage": two},
    )
    assert [report.output_tokens for report in seen.reports] == [272, 408]
    assert seen.image_usage == seen.reports[1]


@pytest.mark.parametrize(
    ("data", "lists_images", "unread"),
    [
        ([], True, 0),
        ([{"b64_json": "A"}, {"image": "A"}], True, 0),
        ([{"image": "A"}, "A"], False, 2),
        (["A"] * (MOST_ITEMS + 5), False, MOST_ITEMS),
        ("A", False, 0),
    ],
)
def test_items_that_are_no_pictures_as_we_know_them_are_counted(
    data: object, lists_images: object, unread: int
) -> None:
    found = Notes(200, stream=False)
    found.body({"data": data})
    seen = found.close(Ending.CLEAN)
    assert (seen.lists_images, seen.unread) == (lists_images, unread)


def test_the_images_told_apart_are_bounded() -> None:
    seen = notes(*(call("generating", number) for number in range(MOST_ITEMS + 5)))
    assert len(seen.images) == MOST_ITEMS


def test_how_the_reading_ended_decides_the_outcome() -> None:
    assert unanswered(sent=True).outcome is Outcome.FAILED
    assert unanswered(sent=False).ending is Ending.UNSENT
    assert Observation(ending=Ending.LEFT, status=200).outcome is Outcome.CLIENT_GONE
    assert Observation(ending=Ending.BROKEN, status=200).outcome is Outcome.UPSTREAM_CUT
    assert Observation(ending=Ending.CLEAN, status=500).outcome is Outcome.FAILED
    assert Observation(ending=Ending.CLEAN, status=200, stream=True).outcome is Outcome.INCOMPLETE


def test_an_id_that_nobody_could_ask_for_is_no_id() -> None:
    seen = notes({"type": "response.completed", "response": {"id": "resp_1\n{}"}})
    assert seen.response_id is None
