from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.catalog import ImageModel, TextModel
from gateway.core.errors import Code, Refusal
from gateway.core.pricing import (
    AccountingRules,
    Priced,
    Use,
    author,
    cost,
    dearest_author,
    lines_of,
    most_cost,
    painter,
    settled_author,
    settled_painter,
    tier_of,
)
from gateway.core.record import Role
from gateway.core.units import PicoUSD
from tests.support.replies import AT_S, CATALOG, RULES

REFUSE = AccountingRules(unpriced="refuse")


def drawn(model: str, output: int) -> Use:
    found = painter(model, CATALOG, RULES)
    assert isinstance(found, Priced)
    return Use(name=model, role=Role.IMAGE, model=found.model, output_image=output)


@pytest.mark.parametrize(
    ("model", "quality", "size", "printed"),
    [
        ("gpt-image-1", "low", "1024x1024", "0.011"),
        ("gpt-image-1", "medium", "1024x1024", "0.042"),
        ("gpt-image-1", "low", "1024x1536", "0.016"),
        ("gpt-image-1", "medium", "1024x1536", "0.063"),
        ("gpt-image-1.5", "low", "1024x1024", "0.009"),
        ("gpt-image-1.5", "medium", "1024x1024", "0.034"),
        ("gpt-image-1.5", "high", "1024x1024", "0.133"),
        ("gpt-image-1.5", "low", "1536x1024", "0.013"),
        ("gpt-image-1.5", "medium", "1536x1024", "0.05"),
        ("gpt-image-1.5", "high", "1536x1024", "0.20"),
        ("gpt-image-2", "low", "1024x1024", "0.006"),
        ("gpt-image-2", "medium", "1024x1024", "0.053"),
        ("gpt-image-2", "high", "1024x1024", "0.211"),
        ("gpt-image-2", "low", "1024x1536", "0.005"),
        ("gpt-image-2", "medium", "1024x1536", "0.041"),
        ("gpt-image-2", "high", "1024x1536", "0.165"),
    ],
)
def test_a_pictures_price_is_the_one_that_openai_prints(
    model: str, quality: str, size: str, printed: str
) -> None:
    """The printed figures are rounded, now to the nearest and now down: they agree to one unit of their last digit."""
    known = CATALOG.find(model)
    assert isinstance(known, ImageModel)
    exact = Fraction(cost(drawn(model, known.tokens(quality, size) or 0), AT_S), 10**12)
    assert abs(exact - Fraction(printed)) <= Fraction(1, 10 ** len(printed.partition(".")[2]))


def test_an_unknown_model_of_a_family_is_priced_as_the_dearest_and_flagged() -> None:
    found = painter("gpt-image-9", CATALOG, RULES)
    assert isinstance(found, Priced)
    assert (found.name, found.priced_as) == ("gpt-image-9", "gpt-image-1")
    known = painter("gpt-image-2", CATALOG, RULES)
    assert isinstance(known, Priced)
    assert known.priced_as is None


@pytest.mark.parametrize(("name", "rules"), [("banana-1", RULES), ("gpt-image-9", REFUSE), ("gpt-5", RULES)])
def test_a_model_without_a_price_is_refused_and_the_message_says_what_to_do(
    name: str, rules: AccountingRules
) -> None:
    found = painter(name, CATALOG, rules, "tools[0].model")
    assert isinstance(found, Refusal)
    assert (found.code, found.param) == (Code.NOT_ALLOWED, "tools[0].model")
    assert name in found.message
    assert "catalog.path" in found.message
    assert 'catalog.unpriced = "as:MODEL"' in found.message


def test_what_the_message_advises_helps() -> None:
    rules = AccountingRules(unpriced="as:gpt-image-2")
    found = painter("banana-1", CATALOG, rules)
    assert isinstance(found, Priced)
    assert (found.name, found.priced_as) == ("banana-1", "gpt-image-2")
    # A stand-in that draws is none for a model that writes: there the family stands in.
    wrote = author("gpt-7", CATALOG, rules)
    assert isinstance(wrote, Priced)
    assert wrote.priced_as == "gpt-6-rosalind"


def test_a_known_model_never_needs_a_stand_in() -> None:
    found = author("gpt-5", CATALOG, AccountingRules(unpriced="as:gpt-5.5-pro"))
    assert isinstance(found, Priced)
    assert found.priced_as is None


def test_after_the_call_the_first_known_name_counts_and_nothing_is_refused() -> None:
    drew = settled_painter(("gpt-image-2-2030-01-01", "gpt-image-2"), CATALOG, RULES)
    assert drew is not None
    assert (drew.name, drew.priced_as) == ("gpt-image-2", None)
    family = settled_painter((None, "gpt-image-9"), CATALOG, REFUSE)
    assert family is not None
    assert family.priced_as == "gpt-image-1"
    unheard_of = settled_painter(("banana-1", None), CATALOG, RULES)
    assert unheard_of is not None
    assert (unheard_of.name, unheard_of.priced_as) == ("banana-1", CATALOG.default_tool_model)
    wrote = settled_author(("llama", None), CATALOG, RULES)
    assert wrote is not None
    assert wrote == dearest_author("llama", CATALOG)
    assert wrote.priced_as == "gpt-5.5-pro"


@pytest.mark.parametrize("rules", [RULES, REFUSE])
def test_of_several_names_the_first_says_who_drew_even_if_nobody_knows_it(rules: AccountingRules) -> None:
    drew = settled_painter(("gpt-image-9", "gpt-image-1-mini"), CATALOG, rules)
    assert drew is not None
    assert (drew.name, drew.priced_as) == ("gpt-image-9", "gpt-image-1")
    outside = settled_painter(("banana-1", "gpt-image-1-mini"), CATALOG, rules)
    assert outside is not None
    assert (outside.name, outside.priced_as) == ("gpt-image-1-mini", None)
    other = settled_painter(("gpt-image-9-2030-01-01", "gpt-image-2"), CATALOG, rules)
    assert other is not None
    assert other.priced_as == "gpt-image-1"


def test_a_model_that_wrote_is_the_one_asked_for_where_the_answers_name_is_not_known() -> None:
    names = ("gpt-99", "gpt-5")
    assert (known := settled_author(names, CATALOG, RULES)) is not None
    assert (first := settled_author(names, CATALOG, RULES, in_turn=True)) is not None
    assert (known.name, known.priced_as) == ("gpt-5", None)
    assert first.name == "gpt-99"
    assert first.priced_as is not None


def test_prices_change_on_their_day() -> None:
    known = CATALOG.find("gpt-image-2")
    assert isinstance(known, ImageModel)
    old = known.tariffs[0]
    dearer = replace(old, from_s=2_000, price=replace(old.price, output_image=PicoUSD(50_000_000)))
    use = Use(name="x", role=Role.IMAGE, model=replace(known, tariffs=(old, dearer)), output_image=10)
    assert (cost(use, 1_999), cost(use, 2_000)) == (300_000_000, 500_000_000)


def test_cached_and_written_input_is_not_paid_twice() -> None:
    use = Use(
        name="x",
        role=Role.MAIN,
        model=CATALOG.find("gpt-5"),
        input_text=100,
        cached_text=60,
        cache_write=40,
    )
    assert cost(use, AT_S) == 60 * 125_000 + 40 * 1_562_500


def test_the_most_a_use_can_cost_is_with_its_input_written_to_the_cache() -> None:
    use = Use(name="x", role=Role.MAIN, model=CATALOG.find("gpt-5"), input_text=100, output_text=1)
    assert most_cost(use, AT_S) == 100 * 1_562_500 + 10_000_000
    assert most_cost(replace(use, tier="flex"), AT_S) == most_cost(use, AT_S)
    assert most_cost(replace(use, tier="priority"), AT_S) == 2 * most_cost(use, AT_S)


@pytest.mark.parametrize(
    ("asked", "echoed", "tier"),
    [
        ("auto", "default", "default"),
        ("fast", None, "priority"),
        ("fast", "fast", "priority"),
        (None, None, None),
    ],
)
def test_the_responses_word_for_the_tier_goes_before_the_requests(
    asked: str | None, echoed: str | None, tier: str | None
) -> None:
    assert tier_of(asked, echoed) == tier


def test_what_was_not_used_has_no_line() -> None:
    assert lines_of([Use(name="x", role=Role.IMAGE)], AT_S) == ((), 0)


TEXTS = [model for model in CATALOG.models.values() if isinstance(model, TextModel)]


@given(
    st.lists(
        st.builds(
            Use,
            name=st.just("x"),
            role=st.just(Role.MAIN),
            model=st.sampled_from(TEXTS),
            input_text=st.integers(0, 400_000),
            output_text=st.integers(0, 50_000),
            tier=st.sampled_from([None, "flex", "priority"]),
        ),
        max_size=5,
    )
)
def test_a_calls_cost_is_rounded_up_once_and_is_the_sum_of_its_lines(uses: list[Use]) -> None:
    lines, total = lines_of(uses, AT_S)
    exact = sum(cost(use, AT_S) for use in uses)
    assert total == -(-exact // 1000) == sum(line.cost_nusd for line in lines)
    assert exact <= sum(most_cost(use, AT_S) for use in uses)
