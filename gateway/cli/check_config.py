"""
`imagegate check-config`: is this configuration good, and what does it say?

Not here: what is good (gateway.settings, gateway.catalog, configuration.py).
"""

from pathlib import Path
from typing import Final

import click

from gateway.adapters.clock import SystemClock
from gateway.cli import misspelt, retiring
from gateway.cli.configuration import Configuration, read
from gateway.core.retirement import NOTICE_DAYS
from gateway.settings import ConfigError, Settings, config_path, report_faults, waits_for

_EXAMPLE: Final = """\b
Example:
  imagegate check-config --config imagegate.toml"""


@click.command("check-config", epilog=_EXAMPLE)
@click.option(
    "--config",
    "flag",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration file. Default: the one that IMAGEGATE_CONFIG names, else the environment only.",
)
def check_config(flag: Path | None) -> None:
    """
    Read the configuration and say whether it is good.

    Every fault is reported at once, with file, key and what to do. Nothing is started and nobody is asked.
    Exit code 0: good. 2: there are faults.
    """
    path = config_path(flag)
    try:
        found = read(path)
    except ConfigError as error:
        click.echo(report_faults(error), err=True)
        raise SystemExit(2) from None
    click.echo(summary(found, path, SystemClock().now()))


def summary(found: Configuration, path: Path | None, now: float) -> str:
    """
    What the configuration says, in a dozen lines for a terminal; no secrets.

    Args:
        found: the configuration.
        path: its file; None: the environment alone.
        now: epoch seconds: models have a last day.
    """
    settings = found.settings
    source = str(path) if path is not None else "The environment (there is no configuration file)"
    lines = [f"OK: {source} is a good configuration.", ""]
    lines += [f"  {label:<11}{text}" for label, text in _facts(settings)]
    waiting = settings.unbuilt()
    if waiting:
        width = max(map(len, waiting))
        lines += ["", "Read and checked, but not in force: this version does not have these parts yet."]
        lines += [f"  {name:<{width}}  waits for {waits_for(name)}" for name in waiting]
    ends = retiring.notes(settings, found.catalog, now)
    if ends:
        lines += ["", f"Warning, models that are gone or go within {NOTICE_DAYS} days:"]
        lines += [f"  {end}" for end in ends]
    slips = misspelt.notes(settings, found.catalog)
    if slips:
        lines += ["", "Perhaps misspelt; nothing is wrong if it is meant:", *(f"  {slip}" for slip in slips)]
    return "\n".join(lines)


def _facts(settings: Settings) -> list[tuple[str, str]]:
    upstream, teams, keys = settings.upstream, settings.teams, settings.keys
    accounts = (
        f"a pool of {_count(len(upstream.credentials), 'credential')}"
        if upstream.credentials
        else "one credential"
    )
    scopes = (
        len(settings.org.limits),
        sum(len(team.limits) for team in teams),
        sum(len(key.limits) for key in keys),
    )
    limits = "none" if not any(scopes) else "{} on the organisation, {} on teams, {} on keys".format(*scopes)
    tenants = f"{_count(len(teams), 'team')}, {_count(len(keys), 'key')}"
    if not keys:
        tenants += "; nobody could call: `imagegate serve` refuses to start without a [[key]]"
    return [
        ("listens on", f"http://{_host(settings.server.host)}:{settings.server.port}"),
        ("operators", f"http://{_host(settings.ops.host)}:{settings.ops.port}"),
        ("upstream", f"{upstream.base_url} ({accounts})"),
        ("tenants", tenants),
        ("limits", limits),
        ("catalogue", f"ours, with {settings.catalog.path} over it" if settings.catalog.path else "ours"),
    ]


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
