"""A real nginx of this machine, in front of a gateway."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port
from tests.support.tools import missing

SNIPPET = Path(__file__).parents[2] / "deploy" / "nginx" / "imagegate.conf"
_AROUND = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {sites}
}}
"""
SITE = """\
    upstream imagegate {{
        server 127.0.0.1:{gateway};
        keepalive 8;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://imagegate;
            include {snippet};
        }}
    }}
"""


def program() -> str:
    """nginx, or the test is skipped."""
    found = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if found is None:
        missing("nginx", "apt-get install nginx-light (streams are read through it)")
    return found


def configured(folder: Path, sites: str) -> Path:
    """A whole configuration around these sites."""
    path = folder / "nginx.conf"
    path.write_text(_AROUND.format(folder=folder, sites=sites))
    return path


def complaints(folder: Path, sites: str) -> str:
    """What nginx has against them; empty: nothing."""
    command = [program(), "-t", "-q", "-p", str(folder), "-c", str(configured(folder, sites))]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@contextmanager
def nginx(folder: Path, gateway: int) -> Iterator[int]:
    """
    One with the project's settings, before the gateway on this port.

    Yields:
        Its port.
    """
    port = free_port()
    config = configured(folder, SITE.format(gateway=gateway, port=port, snippet=SNIPPET))
    with subprocess.Popen(
        [program(), "-p", str(folder), "-c", str(config)], stderr=subprocess.PIPE
    ) as process:
        try:
            _until_it_listens(port, process)
            yield port
        finally:
            process.terminate()
            process.wait(20)


def _until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except ConnectionRefusedError:
            continue
        return
    assert process.stderr is not None
    raise AssertionError(process.stderr.read().decode())
