"""
The `imagegate` command.

Each subcommand lives in a module of its own, imported when it is called: `imagegate --help` loads no server.
"""

from importlib import import_module

import click

from gateway import __version__
from gateway.cli import signals

COMMANDS = {
    "serve": ("gateway.cli.serve", "serve"),
    "sandbox": ("gateway.cli.sandbox", "sandbox"),
    "run": ("gateway.cli.run", "run"),
    "demo": ("gateway.cli.demo", "demo"),
    "estimate": ("gateway.cli.estimate", "estimate"),
    "usage": ("gateway.cli.usage", "usage"),
    "limits": ("gateway.cli.limits", "limits"),
    "cache": ("gateway.cli.cache", "cache"),
    "verify": ("gateway.cli.verify", "verify"),
    "migrate": ("gateway.cli.migrate", "migrate"),
    "check-config": ("gateway.cli.check_config", "check_config"),
}
"""Subcommand -> module and attribute."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        if cmd_name == "serve":
            # Whoever starts it may tell it something at once, and the imports take longer than that.
            signals.hold()
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="imagegate")
def main() -> None:
    """An OpenAI-compatible gateway for image generation: limits, budgets, accounting, cache."""
