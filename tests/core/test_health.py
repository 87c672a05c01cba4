"""Whether requests should be sent here."""

from gateway.core.health import Finding, health_of

LEDGER, CACHE = Finding("ledger", is_needed=True), Finding("cache")


def test_where_every_part_answers_it_is_ready() -> None:
    found = health_of([LEDGER, CACHE])
    assert (found.status, found.is_ready, found.parts) == ("ready", True, {"ledger": "ok", "cache": "ok"})


def test_without_what_is_needed_it_is_not_and_says_what_does_not_answer() -> None:
    found = health_of([Finding("ledger", "no answer in 1 s", is_needed=True), CACHE])
    assert (found.status, found.is_ready) == ("unavailable", False)
    assert found.parts == {"ledger": "no answer in 1 s", "cache": "ok"}


def test_without_what_only_saves_money_it_is_ready_and_says_so() -> None:
    found = health_of([LEDGER, Finding("cache", "no answer in 1 s")])
    assert (found.status, found.is_ready) == ("degraded", True)
    assert found.parts["cache"] == "no answer in 1 s"


def test_what_drains_is_not_ready_however_well_it_is() -> None:
    found = health_of([LEDGER, CACHE], draining=True)
    assert (found.status, found.is_ready) == ("draining", False)
