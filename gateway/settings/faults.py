"""
What is wrong with a configuration, and how a person is told.

The rule of this package: a fault says where it is, what is wrong with which value and what to do about it,
and never shows a secret.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

SMALLEST_CONFIG: Final = """\
[upstream]
api_key = "env:OPENAI_API_KEY"      # what the gateway pays with

[[team]]
id = "studio"

[[key]]
id = "studio-1"
team = "studio"
secret = "env:STUDIO_KEY"           # what a client of the gateway sends; choose it
"""
"""The smallest configuration that serves somebody; both variables have to be set."""


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One thing that is wrong.

    Attributes:
        file: where the setting stands: a file's path, `environment variable NAME`, or `command line`.
        key: the setting's dotted name, such as `server.port` or `key[alice].team`; empty for a whole file.
        problem: what is wrong, with the value unless it is secret.
        fix: what to do, a full sentence; empty where the problem says it.
    """

    file: str
    key: str
    problem: str
    fix: str


class ConfigError(Exception):
    """
    The configuration cannot be used; every fault that was found is in it.

    Attributes:
        faults: at least one, in the order of the schema.
        path: the configuration file; None where there was none.
        overlay: the catalogue overlay that it names, where that could be read, so that a check can go on there.
    """

    def __init__(self, faults: tuple[Fault, ...], *, path: Path | None, overlay: Path | None = None) -> None:
        super().__init__(faults)
        self.faults = faults
        self.path = path
        self.overlay = overlay

    def __str__(self) -> str:
        """The report a person reads."""
        return report_faults(self)


class WrongError(ValueError):
    """
    What a single value's check says.

    Attributes:
        problem: a predicate that follows the shown value: `is not a port`.
        fix: what to write instead, a full sentence.
    """

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem} {fix}")
        self.problem = problem
        self.fix = fix


def reason(error: OSError | ValueError) -> str:
    """Why a file cannot be read, in a few words and without its contents."""
    if isinstance(error, OSError):
        return (error.strerror or "unknown reason").lower()
    return "it is not UTF-8 text"


def without_keys(path: Path | None) -> ConfigError:
    """What a gateway says that nobody could call; a check of the configuration alone accepts it."""
    fix = "Add a table [[team]] and a table [[key]] of that team."
    file = "no configuration file" if path is None else str(path)
    return ConfigError((Fault(file, "key", _NOBODY, fix),), path=path)


_NOBODY: Final = "is missing: every call would be answered 401."


def report_faults(error: ConfigError) -> str:
    """
    Every fault, grouped by where it stands, each with what to do; without a trailing newline.

    The smallest good file is shown where there was neither a file nor a key for the upstream, or no client's key.
    """
    count = len(error.faults)
    lines = [f"The configuration cannot be used: {count} fault{'' if count == 1 else 's'}."]
    for file in dict.fromkeys(fault.file for fault in error.faults):
        lines += ["", file]
        for fault in error.faults:
            if fault.file == file:
                lines.append(f"  {fault.key}: {fault.problem}" if fault.key else f"  {fault.problem}")
                lines += [f"      -> {fault.fix}"] if fault.fix else []
    unpaid = error.path is None and any(fault.key == "upstream.api_key" for fault in error.faults)
    if unpaid or any(fault.problem == _NOBODY for fault in error.faults):
        lines += ["", _SMALLEST]
    # A name out of the environment may hold bytes that are no text and could not be printed.
    return "\n".join(lines).encode(errors="backslashreplace").decode()


_SMALLEST: Final = f"""\
The smallest good configuration looks like this. Save it as imagegate.toml:

{"".join(f"    {line}" if line.strip() else line for line in SMALLEST_CONFIG.splitlines(keepends=True))}
then set the two variables it names and start with it:

    export OPENAI_API_KEY=sk-...           # from OpenAI
    export STUDIO_KEY=sk-something-long    # of your own choice; clients send it
    imagegate serve --config imagegate.toml"""
