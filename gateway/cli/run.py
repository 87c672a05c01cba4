"""
`imagegate run`: a gateway to try, with the key `sk-demo`.

With `OPENAI_API_KEY` set it stands in front of OpenAI and gives the demo key a limit of $5 a day; without it, in front
of the built-in sandbox, which costs nothing. It listens on loopback only. Whether limits hold in this version is not
known here: the settings say it, and the welcome repeats it.
"""

import json
import shlex
import socket
import sys
import threading
from pathlib import Path
from typing import Final

import click
import uvicorn

from gateway.cli import server, trial
from gateway.cli.serve import listen, read, start
from gateway.sandbox.app import create
from gateway.settings import KeySettings, OrgSettings, Settings, TeamSettings, environment

HOST: Final = "127.0.0.1"
_LIMIT: Final = "$5 per day"
_SANDBOX_PORT: Final = 8090

_HEAD: Final = """\
# Written by `imagegate run`; yours from now on. `imagegate run` decides host, ports and store itself.
# {without}

[server]
host = "{host}"

[store]
url = {store}
"""
_WITHOUT_RUN: Final = "Without it: imagegate serve --config {path}"
_SANDBOX_BESIDE: Final = (
    "It also starts the sandbox, on a free port. Without it, start one beside the gateway:\n"
    "#   imagegate sandbox --port {port}\n"
    "#   imagegate serve --config {path}"
)


@click.command(
    epilog="""\b
Example:
  imagegate run --port 8080"""
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on, 0 for any.",
)
@click.option(
    "--ops-port",
    type=click.IntRange(0, 65535),
    default=8081,
    show_default=True,
    help="Operators' port, 0 for any.",
)
@click.option("--store", help="Where money, keys and cache are kept. Default: SQLite in the data folder.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder for configuration and data.",
)
def run(port: int, ops_port: int, store: str | None, data: Path) -> None:
    """Start a gateway to try: in front of OpenAI if OPENAI_API_KEY is set, else of the sandbox."""
    # A shell in which our own export line was pasted has the demo key there: that is no key of OpenAI's.
    with_openai = environment().get("OPENAI_API_KEY", trial.KEY) not in {trial.KEY, ""}
    folder = (data / ("openai" if with_openai else "sandbox")).absolute()
    path = _written(folder, with_openai=with_openai)
    overrides: dict[str, object] = {
        "server.host": HOST,
        "server.port": port,
        "ops.port": ops_port,
        "store.url": store or _sqlite(folder),
    }
    sandbox = None if with_openai else server.bind(HOST, 0)
    if sandbox is not None:
        overrides["upstream.base_url"] = f"{server.address_of(sandbox)}/v1"
    configured = read(path, overrides)
    settings = configured.settings
    try:
        bound = listen(settings, port_from="--port", ops_port_from="--ops-port")
    except click.ClickException:
        if sandbox is not None:
            sandbox.close()
        raise
    if sandbox is not None:
        _start_sandbox(sandbox)
    click.echo(_welcome(settings, server.address_of(bound.public), folder, with_openai=with_openai))
    sys.stdout.flush()
    start(configured, bound)


def _written(folder: Path, *, with_openai: bool) -> Path:
    """The configuration file in this folder, made if it is not there."""
    path = folder / "imagegate.toml"
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(_configuration(path, with_openai=with_openai), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise click.ClickException(
            f"the configuration {path} cannot be written: {reason}. Name another folder with --data."
        ) from None
    return path


def _configuration(path: Path, *, with_openai: bool) -> str:
    without = (_WITHOUT_RUN if with_openai else _SANDBOX_BESIDE).format(
        path=shlex.quote(str(path)), port=_SANDBOX_PORT
    )
    # TOML's texts in double quotes are written as JSON's are.
    store = json.dumps(_sqlite(path.parent), ensure_ascii=False)
    head = _HEAD.format(without=without, host=HOST, store=store)
    if with_openai:
        return trial.configuration(upstream=trial.OPENAI, head=head, limit=_LIMIT)
    return trial.configuration(upstream=trial.sandbox_at(f"http://{HOST}:{_SANDBOX_PORT}"), head=head)


def _sqlite(folder: Path) -> str:
    return f"sqlite:///{folder}"


def _start_sandbox(sock: socket.socket) -> None:
    """A sandbox in a thread of this process, gone with it."""
    running = uvicorn.Server(server.config(create()))
    threading.Thread(target=running.run, args=([sock],), name="sandbox", daemon=True).start()


def _welcome(settings: Settings, address: str, folder: Path, *, with_openai: bool) -> str:
    upstream = (
        "OpenAI, paid by your OPENAI_API_KEY" if with_openai else "the built-in sandbox (it costs nothing)"
    )
    store = settings.store.url
    # What is to be pasted stands at the line's beginning: a heredoc ends only there.
    return f"""
  Upstream   {upstream}
  Limits     {_limits(settings)}
  Store      {f"SQLite in {store.folder}" if store.folder is not None else store}
  Data       {folder}

Point an OpenAI SDK (pip install openai) at the gateway:

export OPENAI_BASE_URL={address}/v1 OPENAI_API_KEY={trial.KEY}

and try it:

python - <<'END'
import base64, openai
picture = openai.OpenAI().images.generate(model="gpt-image-2", prompt="a lighthouse in a storm", quality="low")
open("lighthouse.png", "wb").write(base64.b64decode(picture.data[0].b64_json))
END
"""


def _limits(settings: Settings) -> str:
    scopes: tuple[OrgSettings | TeamSettings | KeySettings, ...] = (
        settings.org,
        *settings.teams,
        *settings.keys,
    )
    told = ", ".join(limit.text for scope in scopes for limit in scope.limits)
    if not told:
        return "none"
    if any(name.endswith(".limits") for name in settings.unbuilt()):
        return f"NOT ENFORCED by this version yet ({told}): whoever has the key can spend without bound"
    return told
