from gateway.cli.guide import again, images
from gateway.cli.guide.table import Row
from gateway.core.units import NanoUSD


def row(name: str, cost: int, cache: str, *faults: str) -> Row:
    return Row(name, "gpt-image-2", 1, 0, 272, 0.1, faults, cost=NanoUSD(cost), cache=cache)


def test_only_a_second_time_has_to_be_given_for_nothing() -> None:
    name = again.STEPS[0].name
    rows = [
        row("generate", 5, "miss"),
        row(name, 0, "hit"),
        row(name, 0, "miss"),
        row(name, 5, "hit"),
        row(name, 5, "miss", "it broke"),
    ]
    assert again.faults(rows).keys() == {2, 3}


def test_it_asks_what_the_guide_has_asked() -> None:
    asked = {(step.run, step.want) for step in images.STEPS}
    assert all((step.run, step.want) in asked for step in again.STEPS)
    assert len({step.name for step in (*images.STEPS, *again.STEPS)}) >= len(again.STEPS)
