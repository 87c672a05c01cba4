"""The report a person reads, and what must never be in it."""

from hashlib import sha256
from pathlib import Path

import pytest

from gateway.settings import SMALLEST_CONFIG, ConfigError, load
from gateway.settings.faults import Fault, report_faults
from tests.support.config import error_in, load_text


def test_faults_are_grouped_by_where_they_stand() -> None:
    faults = (
        Fault("a", "x", "is 1.", "Do 1."),
        Fault("b", "y", "is 2.", ""),
        Fault("a", "", "is 3.", "Do 3."),
    )

    assert report_faults(ConfigError(faults, path=Path("a"))) == (
        "The configuration cannot be used: 3 faults.\n"
        "\n"
        "a\n"
        "  x: is 1.\n"
        "      -> Do 1.\n"
        "  is 3.\n"
        "      -> Do 3.\n"
        "\n"
        "b\n"
        "  y: is 2."
    )


def test_a_report_can_be_printed_whatever_a_variable_is_called() -> None:
    error = ConfigError((Fault("IMAGEGATE_\udcff", "", "is no setting.", "Remove it."),), path=None)

    assert "IMAGEGATE_\\udcff" in report_faults(error)


def test_without_configuration_and_key_it_refuses_and_shows_the_smallest_good_one() -> None:
    with pytest.raises(ConfigError) as refusal:
        load(None, {})

    report = str(refusal.value)
    assert "nothing to pay the upstream with" in report
    assert all(line in report for line in SMALLEST_CONFIG.splitlines())


CANARY = "hunter2canary"


SECRETS = f"""
[upstream]
proxy = "http://u:{CANARY}@h:1"
[[upstream.credential]]
name = "one"
api_key = "{CANARY}1"
[store]
url = "redis://u:{CANARY}@h"
[cache]
url = "redis+cluster://:{CANARY}@h1,h2"
[auth]
admin_token = "{CANARY}2"
pepper = "{CANARY}3"
[[team]]
id = "a"
[[key]]
id = "k"
team = "a"
secret = "{CANARY}4"
[[key]]
id = "l"
team = "a"
secret_sha256 = "{sha256(CANARY.encode()).hexdigest()}"
"""


def test_secrets_do_not_show_in_settings(tmp_path: Path) -> None:
    read = load_text(tmp_path, SECRETS)

    for shown in (repr(read), str(read), repr(read.keys), f"{read.store.url} {read.cache.url}"):
        assert CANARY not in shown
        assert sha256(CANARY.encode()).hexdigest() not in shown
    assert CANARY not in str(read.model_dump())
    assert CANARY not in read.model_dump_json()
    assert read.keys[0].secret is not None
    assert read.keys[0].secret.get_secret_value() == f"{CANARY}4"


@pytest.mark.parametrize(
    "text",
    [
        SECRETS.replace(CANARY, f"{CANARY} with space").replace("redis", "mysql").replace("http:", "ftp:"),
        SECRETS.replace("secret = ", "secret_sha256 = "),
        SECRETS + f'secret = "{CANARY}4"',
        SECRETS.replace("[upstream]", f'[upstream]\napi_key = "{CANARY}"\nbase_url = "https://u:{CANARY}@h"'),
        f'api_key = "{CANARY}"\n[upstream]\napi_keys = "{CANARY}"\ncredential = ["{CANARY}"]',
        f'key = "{CANARY}"\n[auth]\nadmin_token = ["{CANARY}"]\npepper = {{ value = "{CANARY}" }}',
        f'upstream = "{CANARY}"\nteam = ["{CANARY}"]\n[server]\nport = "env:SECRET"\n[log]\nlevel = "env:SECRET"',
        f'[server]\nhost = "sk-{CANARY}"\nport = "sk-{CANARY}"\n[store]\nurl = "{CANARY}"\n[cache]\nurl = "redis://{CANARY} "',
        f'[upstream]\napi_key = "file:{{}}"\nproxy = "{CANARY}"',
        f'[server]\nport = "{CANARY}',
    ],
)
def test_secrets_do_not_show_in_reports_wherever_they_were_put(tmp_path: Path, text: str) -> None:
    environ = {"SECRET": CANARY, "IMAGEGATE_KEY": CANARY, "IMAGEGATE_UPSTREAM__CREDENTIAL": f'["{CANARY}'}

    error = error_in(tmp_path, text, environ if "env:" in text else {})

    assert CANARY not in report_faults(error).replace(str(tmp_path), "")
    assert CANARY not in repr(error.faults)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
