"""Where settings come from: the file, variables, and values that point elsewhere."""

import os
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.core.limits import parse_limit
from gateway.settings import ConfigError, config_path, default_of, load, setting_names
from gateway.settings.sources import wants_traces
from tests.support.config import PAID, faults_in, load_text, write


def test_lists_and_tables_come_from_the_environment_as_json(tmp_path: Path) -> None:
    environ = {
        "IMAGEGATE_ORG__LIMITS": '["$5 per day"]',
        "IMAGEGATE_ORG__ALLOW": '{"models": ["a*"], "max_n": 2}',
        "IMAGEGATE_ORG__ALLOW__MAX_N": "3",
        "IMAGEGATE_TEAM": '[{"id": "a"}]',
        "IMAGEGATE_KEY": '[{"id": "k", "team": "a", "secret": "env:K", "expires_at": "2030-01-01T00:00:00Z"}]',
        "IMAGEGATE_UPSTREAM__SANDBOX": "true",
        "IMAGEGATE_SERVER__HOST": "",
        "K": "sk-from-k",
    }

    read = load_text(tmp_path, PAID + '[org]\nallow = { sizes = ["auto"] }', environ)

    assert read.org.limits == (parse_limit("$5 per day"),)
    assert (read.org.allow.models, read.org.allow.max_n, read.org.allow.sizes) == (("a*",), 3, None)
    assert read.keys[0].secret is not None
    assert read.keys[0].secret.get_secret_value() == "sk-from-k"
    assert read.keys[0].expires_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert read.upstream.sandbox is True
    assert read.server.host == "127.0.0.1"


def test_every_single_setting_can_come_from_the_environment() -> None:
    """Given as what it is by default, each is accepted; nothing but the name decides."""
    for name in setting_names():
        default = default_of(name)
        if isinstance(default, bool | int | str):
            variable = "IMAGEGATE_" + name.upper().replace(".", "__")
            if name.split(".")[0] not in {"team", "key"} and "credential" not in name:
                text = str(default).lower() if isinstance(default, bool) else str(default)
                load(None, {"OPENAI_API_KEY": "sk", variable: text})


@pytest.mark.parametrize("text", ["redis://h/1", "5", "null", "{"])
def test_a_setting_that_is_one_value_is_never_read_as_json(text: str) -> None:
    environ = {"OPENAI_API_KEY": "sk", "IMAGEGATE_STORE__URL": text}

    if text.startswith("redis"):
        assert str(load(None, environ).store.url) == "redis://h:6379/1"
    else:
        with pytest.raises(ConfigError, match="is not a store's URL"):
            load(None, environ)


def test_other_variables_with_our_prefix_are_left_alone() -> None:
    """Kubernetes, for one, sets IMAGEGATE_PORT in every pod beside a service of that name."""
    load(None, {"OPENAI_API_KEY": "sk", "IMAGEGATE_PORT": "tcp://10.0.0.1:80", "IMAGEGATE_TESTS_FULL": "1"})


def test_a_file_reference_starts_from_the_configuration_and_loses_one_line_end(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("sk-file\r\n")
    (tmp_path / "sha").write_text(sha256(b"x").hexdigest() + "\n")
    text = '[upstream]\napi_key = "file:secret"\n[[team]]\nid = "a"\n[[key]]\nid = "k"\nteam = "a"\nsecret_sha256 = "file:'

    read = load_text(tmp_path, f'{text}{tmp_path}/sha"')

    assert read.upstream.api_key is not None
    assert read.upstream.api_key.get_secret_value() == "sk-file"
    assert read.keys[0].secret_sha256 == sha256(b"x").hexdigest()


def test_references_work_for_numbers_and_in_variables_and_on_the_command_line(tmp_path: Path) -> None:
    file = write(tmp_path, PAID + '[server]\nport = "env:PORT"')
    environ = {"PORT": "7001", "IMAGEGATE_LOG__LEVEL": "env:LEVEL", "LEVEL": "debug", "HOST": "::1"}

    read = load(file, environ, {"server.host": "env:HOST"})

    assert (read.server.port, read.log.level, read.server.host) == (7001, "debug", "::1")


def test_a_variable_is_a_text_and_becomes_the_number_it_spells(tmp_path: Path) -> None:
    """Only a file can tell 4 from "4", and only there quotes are a fault."""
    environ = {
        "IMAGEGATE_ORG__ALLOW__MAX_N": "4",
        "IMAGEGATE_SERVER__PORT": "9000",
        "IMAGEGATE_UPSTREAM__SANDBOX": "true",
        "RETRIES": "2",
    }

    read = load_text(tmp_path, PAID + 'retries = "env:RETRIES"\nsandbox = "maybe"\n', environ)

    assert (read.org.allow.max_n, read.server.port) == (4, 9000)
    assert (read.upstream.sandbox, read.upstream.retries) == (True, 2)


def test_a_variable_with_an_unusual_name_can_be_referred_to(tmp_path: Path) -> None:
    text = '[upstream]\napi_key = "env:my.key"\n'

    read = load_text(tmp_path, text, {"my.key": "sk-mine"})

    assert read.upstream.api_key is not None
    assert read.upstream.api_key.get_secret_value() == "sk-mine"


def test_paths_start_from_the_configuration_and_must_exist(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")

    read = load_text(tmp_path, PAID + 'ca_file = "ca.pem"\n')
    [fault] = faults_in(tmp_path, PAID + '[catalog]\npath = "mine.toml"')

    assert read.upstream.ca_file == tmp_path / "ca.pem"
    assert fault.key == "catalog.path"
    assert str(tmp_path / "mine.toml") in fault.fix


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("env:NOWHERE", 'environment variable "NOWHERE", which is not set'),
        ("env:EMPTY", 'environment variable "EMPTY", which is empty'),
        ("env:", "does not name an environment variable after env:"),
        ("env:A B", "does not name an environment variable after env:"),
        ("file:nowhere", "nowhere, which cannot be read: no such file"),
        ("file:", "does not name a file after file:"),
        ("file:.", "which cannot be read: is a directory"),
        ("file:bytes", "bytes, which cannot be read: it is not UTF-8"),
    ],
)
def test_a_reference_that_leads_nowhere_is_one_fault_that_names_it(
    tmp_path: Path, reference: str, problem: str
) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff")

    for text, key in [
        (f'[upstream]\napi_key = "{reference}"\n', "upstream.api_key"),
        (f'{PAID}[server]\nport = "{reference}"\n', "server.port"),
        (f'{PAID}[store]\nurl = "{reference}"\n', "store.url"),
        (f'{PAID}[catalog]\npath = "{reference}"\n', "catalog.path"),
    ]:
        [fault] = faults_in(tmp_path, text, {"EMPTY": ""})

        assert fault.key == key
        assert problem in fault.problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "does not exist"),
        (b"[server\nport = 1", "is not valid TOML: "),
        (b"x = " + b"[" * 100_000, "nests too deep"),
        (b"name = '\xff'", "it is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_the_only_fault(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "imagegate.toml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError) as refusal:
        load(file, {})

    [fault] = refusal.value.faults
    assert fault.file == str(file)
    assert problem in fault.problem


def test_a_pipe_can_be_the_file() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as pipe:
        pipe.write(PAID)
    try:
        assert load(Path(f"/dev/fd/{reader}"), {}).upstream.api_key is not None
    finally:
        os.close(reader)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        load(tmp_path, {})


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "imagegate.toml"
    file.write_bytes(b"\xef\xbb\xbf" + PAID.encode())

    assert load(file, {}).upstream.api_key is not None


def test_without_a_mapping_the_processs_environment_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = write(tmp_path, PAID)
    monkeypatch.setenv("IMAGEGATE_CONFIG", str(file))
    monkeypatch.setenv("IMAGEGATE_SERVER__PORT", "7123")

    path = config_path(None)

    assert path == file
    assert load(path).server.port == 7123


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "false"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_traces_are_wanted_where_the_standard_variables_name_a_receiver(
    environ: dict[str, str], wanted: bool
) -> None:
    assert wants_traces(environ) is wanted
