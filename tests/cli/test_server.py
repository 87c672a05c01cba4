"""Taking an address, and serving until told to stop."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gateway.cli import server
from tests.support.process import ADDRESS, gateway_process, sandbox_process

NOBODY = "http://127.0.0.1:9/v1"


def refused(host: str, port: int) -> str:
    with pytest.raises(click.ClickException) as caught:
        server.bind(host, port, host_from="ops.host", port_from="ops.port")
    return caught.value.message


def test_a_bound_address_takes_connections_before_anybody_serves() -> None:
    with server.bind("127.0.0.1", 0) as sock:
        host, port = sock.getsockname()
        with socket.create_connection((host, port)):
            assert server.address_of(sock) == f"http://127.0.0.1:{port}"


def test_an_address_of_the_newer_kind_stands_in_brackets() -> None:
    with server.bind("::1", 0) as sock:
        assert server.address_of(sock) == f"http://[::1]:{sock.getsockname()[1]}"


@pytest.mark.parametrize(
    "host", ["no-such-host.invalid", f"{'a' * 80}.invalid", "203.0.113.1"], ids=["unknown", "long", "foreign"]
)
def test_a_host_that_is_not_of_this_machine_is_refused_with_what_to_change(host: str) -> None:
    message = refused(host, 0)

    assert message.startswith(f"cannot listen on {host}:0: ")
    assert message.endswith(". Name an address of this machine with ops.host.")


def test_a_port_that_is_taken_is_refused_with_what_to_change() -> None:
    with server.bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]

        assert refused("127.0.0.1", port) == (
            f"cannot listen on 127.0.0.1:{port}: Address already in use. "
            "Stop what listens there, or choose another port with ops.port."
        )


@pytest.mark.system
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_says_stopped_and_is_no_failure(tmp_path: Path, workers: int) -> None:
    """A terminal sends it to the whole group of processes, workers too."""
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'[ops]\nport = 0\n[upstream]\nbase_url = "{NOBODY}"\napi_key = "sk"\n'
        '[[team]]\nid = "t"\n[[key]]\nid = "k"\nteam = "t"\nsecret = "sk-k"\n'
    )
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--port", "0"]
    with subprocess.Popen(
        [*command, "--workers", str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=tmp_path,
    ) as process:
        try:
            assert process.stdout is not None
            address = ADDRESS.search(process.stdout.readline())
            assert address is not None
            answered(int(address[0].rsplit(":", 1)[1]))
            os.killpg(process.pid, signal.SIGINT)
            said, errors = process.communicate(timeout=30)
        finally:
            process.kill()

    assert (process.returncode, said) == (0, "stopped\n")
    assert "Traceback" not in errors
    assert "Aborted" not in errors


def answered(port: int) -> None:
    """Returns once it serves."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert line.recv(9) == b"HTTP/1.1 "


@pytest.mark.system
def test_ctrl_c_stops_the_sandbox_likewise(tmp_path: Path) -> None:
    with sandbox_process(tmp_path) as sandbox:
        answered(sandbox.port)
        sandbox.process.send_signal(signal.SIGINT)
        assert sandbox.process.wait(30) == 0
        assert sandbox.process.stdout is not None
        assert sandbox.process.stdout.read().endswith("\nstopped\n")


@pytest.mark.system
def test_sigterm_ends_the_process_by_that_signal(tmp_path: Path) -> None:
    with gateway_process(NOBODY, tmp_path) as gateway:
        answered(gateway.port)
        gateway.process.terminate()
        assert gateway.process.wait(30) == -signal.SIGTERM


@pytest.mark.system
def test_a_port_that_is_taken_ends_the_command_with_words(tmp_path: Path) -> None:
    with sandbox_process(tmp_path) as sandbox:
        command = [sys.executable, "-m", "gateway", "sandbox", "--port", str(sandbox.port)]
        second = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr.startswith(f"Error: cannot listen on 127.0.0.1:{sandbox.port}: ")
    assert "choose another port with --port." in second.stderr
