"""Who does not answer is left in peace for a while, and then asked by one."""

from gateway.core.breaker import FAILURES, PAUSE_S, Breaker

NOW = 100.0


def failed(times: int, now: float = NOW) -> Breaker:
    breaker = Breaker()
    for _ in range(times):
        breaker = breaker.failed(now)
    return breaker


def test_a_few_failures_stop_nobody() -> None:
    breaker = failed(FAILURES - 1)
    assert breaker.lets_pass(NOW)
    assert breaker.asked(NOW) == breaker
    assert breaker.pause_s(NOW) == 0


def test_only_failures_in_a_row_count() -> None:
    assert failed(FAILURES - 1).succeeded().failed(NOW).lets_pass(NOW)


def test_after_too_many_nobody_asks_for_a_while() -> None:
    breaker = failed(FAILURES)
    assert not breaker.lets_pass(NOW)
    assert not breaker.lets_pass(NOW + PAUSE_S - 0.001)
    assert breaker.pause_s(NOW + 1) == PAUSE_S - 1


def test_then_one_asks_and_the_others_wait_for_it() -> None:
    breaker, then = failed(FAILURES), NOW + PAUSE_S
    assert breaker.lets_pass(then)
    asked = breaker.asked(then)
    assert not asked.lets_pass(then)
    assert asked.lets_pass(then + PAUSE_S), "if nothing is heard of it, the next one asks"


def test_what_it_hears_holds_for_all() -> None:
    then = NOW + PAUSE_S
    probe = failed(FAILURES).asked(then)
    assert probe.succeeded() == Breaker()
    assert not probe.failed(then + 1).lets_pass(then + PAUSE_S)
    assert probe.failed(then + 1).lets_pass(then + 1 + PAUSE_S)


def test_a_pause_that_is_over_is_none() -> None:
    assert failed(FAILURES).pause_s(NOW + 2 * PAUSE_S) == 0
