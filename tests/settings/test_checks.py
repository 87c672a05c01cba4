"""Broken configurations, each with the words that tell a person: single settings, and rules over several."""

from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.config import PAID, error_in, faults_in, load_text

TEAM = '[[team]]\nid = "a"\n'
KEY = TEAM + '[[key]]\nid = "k"\nteam = "a"\nsecret = "sk-k"\n'


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


@pytest.mark.parametrize(
    ("text", "lies"),
    [
        ("", "store.url is not set"),
        ('url = "sqlite:///kept"', 'cache.url is "sqlite://…"'),
        ('[store]\nurl = "sqlite:///all"', 'store.url is "sqlite://…"'),
        ('url = "sqlite:///kept"\n[store]\nurl = "redis://h"', 'cache.url is "sqlite://…"'),
    ],
)
def test_bodies_of_a_cache_in_a_folder_cannot_lie_in_a_redis(tmp_path: Path, text: str, lies: str) -> None:
    [fault] = faults_in(tmp_path, f'{PAID}[cache]\nbodies = "redis"\n{text}')

    assert fault.key == "cache.bodies"
    assert lies in fault.problem
    assert "cache.url" in fault.fix


@pytest.mark.parametrize(
    ("text", "bodies"),
    [
        ("", None),
        ('bodies = "files"', "files"),
        ('url = "sqlite:///kept"\nbodies = "files"', "files"),
        ('url = "redis://h"\nbodies = "redis"', "redis"),
        ('bodies = "redis"\n[store]\nurl = "redis+cluster://h"', "redis"),
        ('bodies = "files"\n[store]\nurl = "redis://h"', "files"),
    ],
)
def test_bodies_lie_in_files_or_in_the_redis_that_the_cache_lies_in(
    tmp_path: Path, text: str, bodies: str | None
) -> None:
    assert load_text(tmp_path, f"{PAID}[cache]\n{text}").cache.bodies == bodies


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


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("[servr]\nport = 1", ["servr: is not a setting", 'Did you mean "server"?']),
        ("[[teams]]\nid = 'a'", ["teams: is not a setting", 'Did you mean "team"?']),
        ("[server]\nprot = 1", ["server.prot: is not a setting", 'Did you mean "port"?']),
        ("[log]\nbase_url = 'x'", ["log.base_url", '"base_url" is a setting of [upstream]; move it there.']),
        ("[log]\nqqq = 1", ["log.qqq", "Remove it. Known here: level, format."]),
        ("[org]\nallow = { modles = [] }", ["org.allow.modles", 'Did you mean "models"?']),
        ("[server]\nport = 'abc'", ['server.port: "abc" is not a whole number', "such as 8080"]),
        ("[server]\nport = 80.5", ["server.port: 80.5 is not a whole number"]),
        ("[server]\nport = true", ["server.port: true is not a number"]),
        ("[server]\nport = 65536", ["server.port: 65536 is too large", "at most 65535, such as 8080"]),
        ("[server]\nport = [1]", ["server.port: a list is not a whole number"]),
        ("[server]\nworkers = 0", ["server.workers: 0 is too small", "at least 1, such as 1"]),
        ("[server]\nhost = 'a b'", ['server.host: "a b" is not a host']),
        ("[server]\nhost = 1", ["server.host: 1 is not a text", 'host = "..."']),
        (
            "[server]\ntrusted_proxies = ['10.0.0.1/8']",
            ['"10.0.0.1/8" is neither an IP address nor a network'],
        ),
        ("[server]\ndrain_timeout_s = 0", ["server.drain_timeout_s: 0 is too small", "above 0"]),
        ("[server]\ndrain_timeout_s = inf", ["server.drain_timeout_s: inf is"]),
        ("[server]\nbody_timeout_s = 'x'", ['server.body_timeout_s: "x" is not a number']),
        ("server = 1", ["server: the value is not a table", "[server]"]),
        ("upstream = 1", ["upstream: the value is not a table", "[upstream]"]),
        (
            "[upstream]\nbase_url = 'api.openai.com'",
            ['"api.openai.com" does not begin with http:// or https://'],
        ),
        ("[upstream]\nbase_url = 'https://'", ["has no host that can be read"]),
        ("[upstream]\nbase_url = 'https://h:99999'", ["has a port that is not a number from 1 to 65535"]),
        ("[upstream]\nbase_url = 'https://h:x'", ["has a port that is not a number from 1 to 65535"]),
        ("[upstream]\nbase_url = 'http://['", ["is not a URL", "such as https://api.openai.com/v1"]),
        (
            "[upstream]\nproxy = 'http://u:p@h:99999'",
            [
                "upstream.proxy: the value has a port that is not a number from 1 to 65535",
                "such as http://proxy.example:3128 or http://user:password@proxy.example:3128",
            ],
        ),
        ("[upstream]\nbase_url = 'https://h/v1?x=1'", ["carries a query"]),
        ("[upstream]\nbase_url = 'https://u:p@h/v1'", ["the value carries a user", "upstream.api_key"]),
        ("[upstream]\nproxy = 'socks5://h:1'", ["upstream.proxy: the value does not begin with http://"]),
        ("[upstream]\ntransport = 'slow'", ['"slow" is not one of the choices', "'fast' or 'httpx2'"]),
        ("[upstream]\nsandbox = 'maybe'", ['"maybe" is neither true nor false']),
        ("[upstream]\napi_key = 'sk-a b'", ["upstream.api_key: the value is empty, or has spaces"]),
        ("[upstream]\napi_key = ''", ["upstream.api_key: the value is empty, or has spaces"]),
        (
            "[[upstream.credential]]\nname = 'x'",
            ["upstream.credential[x].api_key: is missing", "Add api_key ="],
        ),
        ("[upstream.credential]\nname = 'x'", ["is not a list of tables", "[[upstream.credential]]"]),
        ("[store]\nurl = 'mysql://h'", ['store.url: "mysql://…" names a kind of store', "sqlite:///FOLDER"]),
        ("[store]\nurl = 5", ["store.url: 5 is not a text"]),
        ("[cache]\nttl_s = -1", ["cache.ttl_s: -1 is too small", "such as 86400"]),
        ("[cache]\nscope = 'world'", ['"world" is not one of the choices', "'team', 'key' or 'org'"]),
        ("[cache]\nignore_fields = 'user'", ['"user" is not a list', 'ignore_fields = ["..."]']),
        ("[org]\nid = 'a b'", ['org.id: "a b" is not an id', "letters, digits, dot"]),
        ("[org]\nlimits = '$5 per day'", ['org.limits: "$5 per day" is not a list']),
        ("[org]\nlimits = [5]", ["org.limits: 5 is not a text"]),
        (
            "[org]\nlimits = ['20 imags per day']",
            ['"20 imags per day" is not a limit: it has', "Write it like"],
        ),
        ("[org]\nallow = 'all'", ["org.allow: the value is not a table", "in braces"]),
        (
            "[org]\nallow = { routes = ['image.edits'] }",
            ['"image.edits" is not a route', 'mean "images.edits"?'],
        ),
        ("[org]\nallow = { routes = ['image.*'] }", ['"image.*" is not a route', 'mean "images.*"?']),
        (
            "[org]\nallow = { tools = [1] }",
            ["org.allow.tools: 1 is not a text", '-> Write it in quotes, such as "...".'],
        ),
        ("[org]\nallow = { max_n = '4' }", ['org.allow.max_n: "4" is not a whole number', "without quotes"]),
        (
            "[server]\nport = '80'",
            ['server.port: "80" is not a whole number', "without quotes, such as 8080"],
        ),
        ("[server]\nport = 80.0", ["server.port: 80.0 is not a whole number"]),
        ("[server]\nbody_timeout_s = '1.5'", ['server.body_timeout_s: "1.5" is not a number']),
        ("[upstream]\nsandbox = 'true'", ['upstream.sandbox: "true" is neither true nor false']),
        ("[upstream]\nsandbox = 1", ["upstream.sandbox: 1 is neither true nor false"]),
        (KEY + "inject_safety_identifier = 'yes'", ['key[k].inject_safety_identifier: "yes" is neither']),
        ("[org]\nallow = { routes = ['chat.*'] }", ['"chat.*" is not a route', "globs such as files.* work"]),
        ("[org]\nallow = { max_n = 0 }", ["org.allow.max_n: 0 is too small"]),
        ("[org]\nallow = { models = [1] }", ["org.allow.models: 1 is not a text"]),
        ("[team]\nid = 'a'", ["team: the value is not a list of tables", "[[team]]"]),
        ("team = ['a']", ["team: the value is not a list of tables", "double brackets: [[team]]"]),
        ("[[team]]\nname = 'x'", ["team[x].id: is missing", 'Add id = "studio"']),
        (
            KEY + "[[key]]\n",
            ["key[#2].id: is missing", "key[#2].team: is missing", "key[#2].secret: is missing"],
        ),
        (TEAM + "[[key]]\nid = 'k'\nteam = 'a'\nsecret_sha256 = 'zz'", ["the value is not a SHA-256 digest"]),
        (KEY + "expires_at = 2030-01-01", ["key[k].expires_at: 2030-01-01 is not a date with time"]),
        (KEY + "expires_at = 2030-01-01T00:00:00", ["has no offset", "2027-01-31T00:00:00Z"]),
        (KEY + "expires_at = 'soon'", ['key[k].expires_at: "soon" is not a date with time']),
        (
            KEY + "on_disconnect = 'wait'",
            ['key[k].on_disconnect: "wait" is not one of', "'finish' or 'cancel'"],
        ),
        ("[catalog]\nunpriced = 'free'", ['"free" is no rule for unpriced models', '"as:MODEL"']),
        ("[responses]\nreserve_images = 10000000000000000", ["is too large"]),
        (
            "[log]\nlevel = 'loud'",
            ['"loud" is not one of the choices', "'debug', 'info', 'warning' or 'error'"],
        ),
    ],
)
def test_a_fault_says_where_it_is_what_is_wrong_and_what_to_do(
    tmp_path: Path, text: str, fragments: list[str]
) -> None:
    if "[upstream" not in text and "upstream =" not in text:
        text += "\n" + PAID

    error = error_in(tmp_path, text)

    report = str(error)
    assert all(fragment in report for fragment in fragments), report
    assert str(tmp_path / "imagegate.toml") in report
    assert all(fault.problem.endswith(".") and fault.fix for fault in error.faults)


def test_what_are_no_tables_in_a_list_of_tables_are_one_fault(tmp_path: Path) -> None:
    [fault] = faults_in(tmp_path, f"key = [1, 2]\n{PAID}")

    assert (fault.key, fault.problem) == ("key", "the value is not a list of tables.")
    assert fault.fix == "Begin each of them with double brackets: [[key]]."


def test_what_are_no_tables_in_a_variable_are_told_in_json(tmp_path: Path) -> None:
    [fault] = faults_in(tmp_path, PAID, {"IMAGEGATE_KEY": "[1, 2]"})

    assert fault.file == "environment variable IMAGEGATE_KEY"
    assert fault.fix == 'Write it like [{"id": "one"}, {"id": "two"}].'


def test_a_number_in_quotes_is_one_fault_whatever_else_is_wrong_with_it(tmp_path: Path) -> None:
    assert len(faults_in(tmp_path, f"{PAID}[server]\nport = '99999'\nworkers = 'x'\n")) == 2


def test_faults_from_elsewhere_name_the_variable_or_the_command_line(tmp_path: Path) -> None:
    environ = {"IMAGEGATE_SERVER__WORKERS": "0", "IMAGEGATE_ORG__ALLOW": '{"max_n": 0}'}

    [one, other] = error_in(tmp_path, PAID, environ).faults

    assert (one.file, one.key) == ("environment variable IMAGEGATE_SERVER__WORKERS", "server.workers")
    assert (other.file, other.key) == ("environment variable IMAGEGATE_ORG__ALLOW", "org.allow.max_n")


@pytest.mark.parametrize(
    ("name", "value", "fragments"),
    [
        ("IMAGEGATE_SERVER__PROT", "1", ["is no setting", "Did you mean IMAGEGATE_SERVER__PORT?"]),
        ("IMAGEGATE_Q__Q", "1", ["is no setting", "docs/configuration.md"]),
        (
            "IMAGEGATE_ORG__LIMITS",
            "$5 per day",
            ["org.limits: the value is not a list in JSON", '["one", "two"]'],
        ),
        ("IMAGEGATE_ORG__ALLOW", "[]", ["org.allow: the value is not a table in JSON"]),
        ("IMAGEGATE_TEAM", "studio", ["team: the value is not a list of tables in JSON", '[{"id": "one"}']),
        ("IMAGEGATE_KEY", "[" * 100_000, ["key: the value is not a list of tables in JSON"]),
        ("IMAGEGATE_KEY", '["\udcff"]', ["key: the value is not a list of tables in JSON"]),
    ],
)
def test_variables_are_told_apart_like_settings(
    tmp_path: Path, name: str, value: str, fragments: list[str]
) -> None:
    error = error_in(tmp_path, PAID, {name: value})

    assert len(error.faults) == 1
    assert all(fragment in str(error) for fragment in [name, *fragments]), str(error)
