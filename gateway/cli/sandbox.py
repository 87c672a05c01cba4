"""`imagegate sandbox`: an OpenAI of our own, that costs nothing and draws real pictures."""

import click

from gateway.cli import server
from gateway.sandbox.app import create

_EPILOG = """\b
Example:
  imagegate sandbox --port 8090 --speed 0
  export OPENAI_BASE_URL=http://127.0.0.1:8090/v1 OPENAI_API_KEY=sk-any"""


@click.command(epilog=_EPILOG)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8090,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on, 0 for any.",
)
@click.option(
    "--speed",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="How many times faster than a real generation; 0 never waits.",
)
def sandbox(host: str, port: int, speed: float) -> None:
    """Start the sandbox: OpenAI's image routes, for development, tests and demos."""
    listener = server.bind(host, port)
    address = server.address_of(listener)
    click.echo(f"The sandbox listens on {address}\n")
    click.echo(f"  export OPENAI_BASE_URL={address}/v1 OPENAI_API_KEY=sk-any\n")
    click.echo(f"What it would have cost: {address}/_sandbox/invoice")
    server.run(server.config(create(speed), drain_timeout_s=1), [listener])
