"""The configuration of a gateway to try."""

from pathlib import Path

import pytest

from gateway.cli import trial
from tests.support.config import load_text


def test_it_has_one_team_and_one_key(tmp_path: Path) -> None:
    read = load_text(tmp_path, trial.configuration(upstream=trial.sandbox_at("http://127.0.0.1:8090")))

    [key], [team] = read.keys, read.teams
    assert (key.team, key.limits) == (team.id, ())
    assert key.secret is not None
    assert key.secret.get_secret_value() == trial.KEY
    assert (read.upstream.base_url, read.upstream.sandbox) == ("http://127.0.0.1:8090/v1", True)


def test_what_stands_around_it_is_said_by_who_starts_it(tmp_path: Path) -> None:
    text = trial.configuration(upstream=trial.OPENAI, head="[ops]\nport = 0\n", limit="$5 per day")

    read = load_text(tmp_path, text, {"OPENAI_API_KEY": "sk-up"})

    assert (read.ops.port, [limit.text for limit in read.keys[0].limits]) == (0, ["$5 per day"])
    assert read.upstream.base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize("limit", [None, "$5 per day"])
def test_it_ends_with_a_line_end_and_has_no_hole(limit: str | None) -> None:
    text = trial.configuration(upstream=trial.OPENAI, head="[ops]\nport = 0\n", limit=limit)

    assert text.endswith('"\n' if limit is None else '"]\n')
    assert "\n\n\n" not in text
