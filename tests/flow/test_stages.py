import asyncio

import pytest

from gateway.core.errors import Code, Refusal, Refused
from gateway.core.spans import Stage, Stay
from gateway.flow.exchange import Arrival
from gateway.flow.stages import UNSEEN, Stages
from gateway.flow.story import Story
from gateway.flow.tasks import ClientGoneError


def stages(*ticks: float) -> Stages:
    moments = iter(ticks)
    return Stages(lambda: next(moments))


def test_a_stay_lasts_as_long_as_its_block() -> None:
    watch = stages(1, 2, 3, 5)
    with watch.during(Stage.IDENTIFY):
        pass
    with watch.during(Stage.ADMIT):
        pass
    assert watch.stays == [Stay(Stage.IDENTIFY, 1, 2), Stay(Stage.ADMIT, 3, 5)]


def test_a_stage_that_goes_on_is_one_stay_and_one_that_comes_back_is_another() -> None:
    watch = stages(1, 2, 3, 4, 5, 6, 7, 8)
    for stage in (Stage.LOOK_UP, Stage.LOOK_UP, Stage.FOLLOW, Stage.LOOK_UP):
        with watch.during(stage):
            pass
    assert [(one.stage, one.began, one.ended) for one in watch.stays] == [
        (Stage.LOOK_UP, 1, 4),
        (Stage.FOLLOW, 5, 6),
        (Stage.LOOK_UP, 7, 8),
    ]


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (Refused(Refusal(Code.INVALID_API_KEY, "no")), "invalid_api_key"),
        (ClientGoneError(), None),
        (asyncio.CancelledError(), None),
        (OSError(), "OSError"),
    ],
)
def test_what_a_stage_is_left_with_is_told_unless_the_client_left(
    error: BaseException, fault: str | None
) -> None:
    watch = stages(1, 2)
    with pytest.raises(type(error)), watch.during(Stage.IDENTIFY):
        raise error
    assert watch.stays == [Stay(Stage.IDENTIFY, 1, 2, fault)]


def test_a_stage_that_it_was_not_in_is_not_left() -> None:
    watch = stages(1, 2)
    with watch.during(Stage.SETTLE):
        watch.end(Stage.UPSTREAM, 9)
    assert watch.stays == [Stay(Stage.SETTLE, 1, 2)]


def test_where_nobody_wants_to_know_nothing_is_noted() -> None:
    story = Story(Arrival("igr_1", "GET", "/", b"", (), 0.0))
    story.set_out()
    assert story.during(Stage.ADMIT) is UNSEEN
    assert (story.has_set_out, story.stages) == (True, None)
