from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.config import PAID, faults_in, load_text

TEAM = '[[team]]\nid = "a"\n'


def key(name: str, secret: str = 'secret = "sk-same"', team: str = "a") -> str:
    return f'[[key]]\nid = "{name}"\nteam = "{team}"\n{secret}\n'


def test_a_key_of_an_unknown_team_names_the_known_ones(tmp_path: Path) -> None:
    [fault] = faults_in(tmp_path, PAID + TEAM + key("k", team="b"))

    assert fault.key == "key[k].team"
    assert fault.problem == '"b" is not a team.'
    assert "one of: a" in fault.fix


def test_a_key_without_any_team_is_told_to_make_one(tmp_path: Path) -> None:
    [fault] = faults_in(tmp_path, PAID + key("k"))

    assert "there is none yet" in fault.fix


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (TEAM + TEAM, "team[a].id"),
        (TEAM + key("k", 'secret = "sk-1"') + key("k", 'secret = "sk-2"'), "key[k].id"),
    ],
)
def test_an_id_is_given_once(tmp_path: Path, text: str, place: str) -> None:
    [fault] = faults_in(tmp_path, PAID + text)

    assert fault.key == place
    assert "number 2 has the same id as number 1" in fault.problem


def test_a_credentials_name_is_given_once(tmp_path: Path) -> None:
    one = '[[upstream.credential]]\nname = "x"\napi_key = "sk-1"\n'

    [fault] = faults_in(tmp_path, one + one)

    assert fault.key == "upstream.credential[x].name"
    assert "[[upstream.credential]] number 2" in fault.problem


@pytest.mark.parametrize(
    "second",
    ['secret = "sk-same"', f'secret_sha256 = "{sha256(b"sk-same").hexdigest().upper()}"', 'secret = "env:S"'],
)
def test_two_keys_never_share_a_secret(tmp_path: Path, second: str) -> None:
    [fault] = faults_in(tmp_path, PAID + TEAM + key("k") + key("l", second), {"S": "sk-same"})

    assert fault.key == f"key[l].{second.split(maxsplit=1)[0]}"
    assert "as that of key[k]" in fault.problem
    assert "sk-same" not in f"{fault}"


def test_a_key_has_either_a_secret_or_its_digest(tmp_path: Path) -> None:
    both = f'secret = "sk-k"\nsecret_sha256 = "{sha256(b"sk-k").hexdigest()}"'

    faults = faults_in(tmp_path, PAID + TEAM + key("k", both) + key("l", ""))

    assert [(fault.key, fault.problem) for fault in faults] == [
        ("key[k].secret_sha256", "stands beside secret."),
        ("key[l].secret", "is missing: nobody could use this key."),
    ]


def test_an_api_key_and_a_pool_do_not_go_together(tmp_path: Path) -> None:
    pool = '[[upstream.credential]]\nname = "x"\napi_key = "sk-1"\n'

    [fault] = faults_in(tmp_path, PAID + pool)

    assert "beside a pool" in fault.problem


def test_a_pool_leaves_the_openai_key_of_the_environment_alone(tmp_path: Path) -> None:
    pool = '[[upstream.credential]]\nname = "x"\napi_key = "sk-1"\n'

    assert load_text(tmp_path, pool, {"OPENAI_API_KEY": "sk-env"}).upstream.api_key is None


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("[ops]\nport = 8080", {}),
        ("[server]\nport = 8081", {}),
        ("[server]\nport = 9000", {"IMAGEGATE_OPS__PORT": "9000"}),
    ],
)
def test_the_listeners_have_different_ports(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    [fault] = faults_in(tmp_path, f"{PAID}{text}", environ)

    assert "is the port of both server and ops" in fault.problem


def test_both_ports_may_be_left_to_the_system(tmp_path: Path) -> None:
    read = load_text(tmp_path, f"{PAID}[server]\nport = 0\n[ops]\nport = 0")

    assert (read.server.port, read.ops.port) == (0, 0)


def test_the_largest_entry_fits_into_the_cache(tmp_path: Path) -> None:
    [fault] = faults_in(tmp_path, f"{PAID}[cache]\nmax_bytes = 1000")

    assert fault.key == "cache.max_bytes"
    assert "67108864 bytes" in fault.problem


LIMITED = '[org]\nlimits = ["$9000000 per month", "{} per month"]\n[[team]]\nid = "a"\nlimits = ["$9,000,001 total"]\n'


def test_on_redis_money_is_limited_to_what_it_counts_exactly(tmp_path: Path) -> None:
    text = (
        PAID
        + LIMITED.format("$9000000.01")
        + key("k")
        + 'limits = ["10000000 tokens per day", "$1e9 total"]\n'
    )

    faults = faults_in(tmp_path, text + '[store]\nurl = "rediss://h"')

    assert [fault.key for fault in faults] == ["key[k].limits", "org.limits", "team[a].limits"]
    assert "$9,000,000" in faults[1].problem


def test_in_the_embedded_store_money_may_be_more(tmp_path: Path) -> None:
    read = load_text(tmp_path, PAID + LIMITED.format("$1000000000"))

    assert len(read.org.limits) == 2


def test_rules_over_several_settings_speak_though_single_ones_are_wrong(tmp_path: Path) -> None:
    faults = faults_in(tmp_path, "[upstream]\nretries = 'x'\n[server]\nport = 8081\nhost = 1\n" + TEAM + TEAM)

    keys = [fault.key for fault in faults]
    assert keys == ["server.host", "upstream.retries", "upstream.api_key", "server.port", "team[a].id"]
