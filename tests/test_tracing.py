import subprocess
import sys
from pathlib import Path

import pytest

from gateway import tracing

WITHOUT = """\
import sys
from pathlib import Path

def there():
    foreign = ("opentelemetry", "google.protobuf", "requests", "urllib3", "gateway.adapters.otel")
    return {name for name in sys.modules if name.startswith(foreign)}

import redis.asyncio  # Looks for OpenTelemetry's metrics by itself, where they are installed.
before = there()
from gateway import app
from gateway.settings import load

settings = load(Path("gateway.toml"))
app.prepare(settings)
app.build(settings, 8081)
ours = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.proto", "gateway.adapters.otel")
print(sorted(there() - before), sorted(name for name in there() if name.startswith(ours)))
"""


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gateway.adapters.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)


def test_where_nobody_asked_nothing_of_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(
        '[upstream]\napi_key = "sk"\n[[team]]\nid = "a"\n[[key]]\nid = "k"\nteam = "a"\nsecret = "sk-1"\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("[] []\n", 0), done.stderr
    assert tracing.traces_of_process() is None


def test_wanted_and_not_there_is_said_with_what_to_install(
    without_the_extra: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracing.warn_if_missing()
    assert caplog.text == ""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracing.warn_if_missing()
    assert len(caplog.records) == 1
    assert "install imagegate[otel]" in caplog.text
    assert tracing.traces_of_process() is None


def test_a_variable_that_the_library_refuses_is_told_and_the_gateway_serves_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "many")
    assert tracing.traces_of_process() is None
    (told,) = [record.getMessage() for record in caplog.records if record.name == "imagegate.traces"]
    assert "OpenTelemetry cannot use one of its variables" in told
    assert "many" in told


async def test_wanted_and_there_somebody_takes_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    tracing.warn_if_missing()
    traces = tracing.traces_of_process()
    assert traces is not None
    await traces.aclose()
    assert caplog.text == ""
