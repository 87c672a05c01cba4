import signal

import click
import httpx2
import pytest

from gateway.cli import pair, trial

pytestmark = pytest.mark.system


def reachable(url: str) -> bool:
    try:
        httpx2.get(url, trust_env=False)
    except httpx2.TransportError:
        return False
    return True


def test_both_are_ready_inside_and_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the shell do not reach them: this one would send the calls elsewhere."""
    monkeypatch.setenv("IMAGEGATE_UPSTREAM__BASE_URL", "http://127.0.0.1:9/v1")

    with pair.running(0) as both:
        answer = httpx2.get(
            f"{both.base_url}/models", headers={"authorization": f"Bearer {trial.KEY}"}, trust_env=False
        )
        assert "gpt-image-2" in answer.text
        assert "`imagegate serve` still runs; it" in both.gateway.last_words()
        assert httpx2.get(f"{both.gateway.operators}/admin/ledger", trust_env=False).status_code == 401
        token = {"authorization": f"Bearer {both.admin_token}"}
        records = httpx2.get(f"{both.gateway.operators}/admin/ledger", headers=token, trust_env=False)
        assert records.json()["data"] == []

    assert not reachable(both.gateway.url)
    assert not reachable(both.sandbox.url)
    assert [child.process.poll() is None for child in (both.gateway, both.sandbox)] == [False, False]
    assert not both.gateway.log.exists()


def test_an_error_inside_stops_both() -> None:
    seen = []

    def interrupted() -> None:
        with pair.running(0) as both:
            seen.extend([both.gateway, both.sandbox])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert [child.process.returncode is None for child in seen] == [False, False]


def test_sigterm_ends_the_block_and_is_left_as_it_was() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(SystemExit) as ended, pair.running(0):
        signal.raise_signal(signal.SIGTERM)

    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_one_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "configuration", lambda **_: "[server]\nprot = 1\n")

    with pytest.raises(click.ClickException) as refused, pair.running(0):
        pytest.fail("it started")

    assert "`imagegate serve` did not start. `imagegate serve` ended with code 2; its last words:" in str(
        refused.value.message
    )
    assert 'Did you mean "port"?' in refused.value.message
