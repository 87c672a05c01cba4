from gateway.adapters.clock import SystemClock


def test_epoch_seconds_and_ticks_go_forward() -> None:
    clock = SystemClock()
    assert clock.now() > 1_700_000_000
    assert clock.ticks() <= clock.ticks()
