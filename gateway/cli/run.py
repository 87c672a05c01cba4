"""
`imagegate run`: a gateway to try, with the key `sk-demo`.

With `OPENAI_API_KEY` set it stands in front of OpenAI, and the demo key may spend $5 a day; without it, in front of
the built-in sandbox, which costs nothing. It listens on loopback only.
"""

import sys
import threading
from pathlib import Path

import click
import uvicorn

from gateway.cli import server
from gateway.cli.serve import read, start
from gateway.sandbox.app import create
from gateway.settings import environment

DEMO_KEY = "sk-demo"
HOST = "127.0.0.1"

_CONFIG = """\
# Written by `imagegate run`; yours from now on. `imagegate serve --config {path}` starts the same.

[server]
host = "{host}"

{upstream}
[[team]]
id = "demo"

[[key]]
id = "demo"
team = "demo"
secret = "{key}"
{limits}"""

_OPENAI = """\
[upstream]
api_key = "env:OPENAI_API_KEY"
"""
_SANDBOX = """\
# The sandbox is started beside the gateway, on a free port.
[upstream]
base_url = "http://127.0.0.1:8090/v1"
api_key = "sk-sandbox"
sandbox = true
"""


@click.command(
    epilog="""\b
Example:
  imagegate run --port 8080"""
)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Port to listen on."
)
@click.option(
    "--ops-port", type=click.IntRange(1, 65535), default=8081, show_default=True, help="Operators' port."
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
    with_openai = environment().get("OPENAI_API_KEY", DEMO_KEY) not in {DEMO_KEY, ""}
    folder = (data / ("openai" if with_openai else "sandbox")).absolute()
    path = folder / "imagegate.toml"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(_config(path, with_openai=with_openai), encoding="utf-8")
    overrides: dict[str, object] = {
        "server.host": HOST,
        "server.port": port,
        "ops.port": ops_port,
        "store.url": store or f"sqlite:///{folder}",
    }
    if not with_openai:
        overrides["upstream.base_url"] = _start_sandbox()
    settings = read(path, overrides)
    click.echo(_welcome(port, folder, settings_store=store, with_openai=with_openai))
    sys.stdout.flush()
    start(settings)


def _config(path: Path, *, with_openai: bool) -> str:
    return _CONFIG.format(
        path=path,
        host=HOST,
        key=DEMO_KEY,
        upstream=_OPENAI if with_openai else _SANDBOX,
        limits='limits = ["$5 per day"]\n' if with_openai else "",
    )


def _start_sandbox() -> str:
    """A sandbox in a thread of this process, gone with it. Returns its base URL."""
    sock = server.bind(HOST, 0)
    running = uvicorn.Server(server.config(create()))
    threading.Thread(target=running.run, args=([sock],), name="sandbox", daemon=True).start()
    return f"{server.address_of(sock)}/v1"


def _welcome(port: int, folder: Path, *, settings_store: str | None, with_openai: bool) -> str:
    upstream = (
        "OpenAI, paid by your OPENAI_API_KEY" if with_openai else "the built-in sandbox (it costs nothing)"
    )
    store = settings_store or f"SQLite in {folder}"
    return f"""
  Upstream   {upstream}
  Store      {store}
  Data       {folder}

Point an OpenAI SDK at the gateway:

  export OPENAI_BASE_URL=http://{HOST}:{port}/v1 OPENAI_API_KEY={DEMO_KEY}

and try it:

  python - <<'END'
  import base64, openai
  picture = openai.OpenAI().images.generate(model="gpt-image-2", prompt="a lighthouse in a storm", quality="low")
  open("lighthouse.png", "wb").write(base64.b64decode(picture.data[0].b64_json))
  END
"""
