"""
`imagegate demo`: the image guide's calls through sandbox and gateway, with the official SDK.

Decided here: what is shown while it runs, what a call that fails does (its row says so, and the next one is made), and
when the whole has worked. The calls are in gateway/cli/guide/, the two processes in gateway/cli/pair.py.
"""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import httpx2
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from gateway import catalog
from gateway.adapters.clock import SystemClock
from gateway.cli import pair, trial
from gateway.cli.guide import again, album, books, checks, images, ledger, responses
from gateway.cli.guide.step import Answer, Desk, NotPossibleError, Step
from gateway.cli.guide.table import WIDTH, Row, table
from gateway.core.routes import match

if TYPE_CHECKING:
    import openai

NO_SDK: Final = (
    "the demo makes its calls with the official SDK, the package `openai`, which is not installed. "
    "Install it with: pip install 'imagegate[demo]'"
)


@click.command(
    epilog="""\b
Example:
  imagegate demo --out pictures --speed 1"""
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False, writable=True),
    default=Path("demo"),
    show_default=True,
    help="Folder for the pictures.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=3.0,
    show_default=True,
    help="How many times faster than a real generation; 0 never waits.",
)
def demo(out: Path, speed: float) -> None:
    """Make the image guide's calls through a sandbox and a gateway, and tell what happened. It costs nothing."""
    if importlib.util.find_spec("openai") is None:
        raise click.ClickException(NO_SDK)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"the folder {out} cannot be made: {error.strerror}") from None
    console.print("Starting the sandbox and, in front of it, the gateway …")
    with pair.running(speed) as both:
        console.print(f"The gateway listens on {both.gateway.url}, the sandbox on {both.sandbox.url}.\n")
        walk = _Walk(both, out, console)
        rows, told = _priced(console, walk.rows(), both)
        console.print()
        console.print(table(rows))
        _tell_faults(console, rows)
        equal = _tell_books(console, rows, both.sandbox.url)
        console.print(f"{len(walk.kept)} pictures are in {escape(str(out.absolute()))}", soft_wrap=True)
        failed = not (told and equal) or any(row.faults for row in rows)
        if failed:
            _tell_logs(console, both)
    if failed:
        sys.exit(1)


class _Walk:
    """
    From one call to the next.

    Args:
        both: the processes.
        folder: where the pictures are kept.
        console: told of every picture as it comes.
    """

    def __init__(self, both: pair.Pair, folder: Path, console: Console) -> None:
        self._both = both
        self._folder = folder
        self._clock = SystemClock()
        self._catalog = catalog.load()
        self._ids: list[str | None] = []
        self._charged: list[str] = []
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._stem, self._format, self._began = "", "PNG", 0.0
        self.kept: list[Path] = []

    def rows(self) -> list[Row]:
        """Makes all calls, one after the other."""
        steps = [*images.STEPS, *responses.steps(self._catalog.default_tool_model), *again.STEPS]
        with self._client() as client, self._progress as progress:
            desk = Desk(client, self._both.sandbox.url, self._folder, self._partial)
            bar = progress.add_task("", total=len(steps))
            found = []
            for number, step in enumerate(steps, start=1):
                progress.update(bar, description=f"{step.name} · {step.model}", completed=number - 1)
                found.append(self._taken(number, step, desk))
            return found

    def _client(self) -> "openai.OpenAI":
        import openai  # noqa: PLC0415 - an extra: only this command needs it

        return openai.OpenAI(
            base_url=self._both.base_url,
            api_key=trial.KEY,
            max_retries=0,
            # A proxy from the environment has no business on the loopback.
            http_client=openai.DefaultHttpxClient(
                trust_env=False, event_hooks={"response": [self._answered]}
            ),
        )

    def _answered(self, response: httpx2.Response) -> None:
        id_ = response.headers.get(checks.ID_HEADER)
        self._ids.append(id_)
        found = match(response.request.method, response.request.url.path)
        if id_ is not None and found is not None and found.route.metered:
            self._charged.append(id_)

    def _taken(self, number: int, step: Step, desk: Desk) -> Row:
        self._stem, self._format = album.stem(number, step.name, step.model), step.want.file_format
        self._ids.clear()
        self._charged.clear()
        self._began = self._clock.ticks()
        answer, wrong = Answer((), None), []
        try:
            answer = step.run(desk)
        except NotPossibleError as error:
            wrong.append(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this row's, and the next call is made
            wrong.append(f"{type(error).__name__}: {error}")
        seconds = self._clock.ticks() - self._began
        if not wrong:
            wrong = checks.faults(step.want, answer, self._ids, self._catalog)
            desk.finished += self._kept(answer, seconds)
        if wrong:
            self._progress.console.print(f"  [red]{self._stem:<60} failed    after {seconds:>4.1f} s")
        return Row(
            step.name,
            step.model,
            len(answer.pictures),
            len(answer.partials),
            answer.tokens,
            seconds,
            tuple(wrong),
            tuple(self._charged),
        )

    def _kept(self, answer: Answer, seconds: float) -> list[Path]:
        several = len(answer.pictures) > 1
        return [
            self._keep(f"{self._stem}-{number}" if several else self._stem, data, seconds)
            for number, data in enumerate(answer.pictures, start=1)
        ]

    def _partial(self, index: int, data: bytes) -> None:
        self._keep(f"{self._stem}-partial-{index}", data, self._clock.ticks() - self._began, style="dim")

    def _keep(self, name: str, data: bytes, seconds: float, style: str = "") -> Path:
        path = album.keep(self._folder, name, data, self._format)
        self.kept.append(path)
        self._progress.console.print(
            f"  {path.name:<60} {len(data) / 1e6:>5.2f} MB   after {seconds:>4.1f} s", style=style
        )
        return path


def _priced(console: Console, rows: list[Row], both: pair.Pair) -> tuple[list[Row], bool]:
    """The rows with their cost, and whether it could be had."""
    try:
        found = ledger.priced(rows, ledger.Office(both.gateway.operators, both.admin_token))
    except httpx2.HTTPError as error:
        console.print(f"[red]✗ The gateway's ledger cannot be had: {escape(str(error))}")
        return rows, False
    wrong = again.faults(found)
    return [
        replace(row, faults=(*row.faults, wrong[place])) if place in wrong else row
        for place, row in enumerate(found)
    ], True


def _tell_faults(console: Console, rows: list[Row]) -> None:
    for row in rows:
        for fault in row.faults:
            console.print(f"[red]✗ {escape(f'{row.name} ({row.model}): {fault}')}")


def _tell_books(console: Console, rows: list[Row], sandbox: str) -> bool:
    try:
        invoice = books.of(sandbox)
    except httpx2.HTTPError as error:
        console.print(f"[red]✗ The sandbox's invoice cannot be had: {escape(str(error))}")
        return False
    equal, sentence = books.compared(rows, invoice)
    console.print(f"[green]✓[/] {sentence}" if equal else f"[red]✗ {sentence}")
    console.print(books.price(invoice))
    return equal


def _tell_logs(console: Console, both: pair.Pair) -> None:
    for child in (both.gateway, both.sandbox):
        console.print(f"\n{escape(child.last_words())}", soft_wrap=True)
