"""
Reading the configuration again while the gateway runs.

A faulty one is refused as a whole, with every fault in the log, and the old one stays. What of a good one cannot come
into force is named. Nothing that is logged here is a value: those may be secret.
"""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateway import app
from gateway.cli import configuration, signals
from gateway.cli.configuration import Configuration
from gateway.settings import ConfigError, Fault, without_keys
from gateway.settings.changes import CATALOGUE, changes, in_force

_log = logging.getLogger("imagegate.reload")


class Reader:
    """
    Reads the configuration, the first time and again.

    Args:
        path: the configuration file, None for none.
        overrides: dotted names and values from the command line.

    Attributes:
        current: what is in force, or comes into force with new workers.
    """

    def __init__(self, path: Path | None, overrides: Mapping[str, object]) -> None:
        self._path = path
        self._overrides = overrides
        self.current = self._read()

    def again(self) -> Configuration | None:
        """
        Read it again, and say in the log what comes of that.

        Returns:
            What is in force from now on; None: it was refused, and nothing changes.
        """
        try:
            read = self._read()
            app.try_out(read.settings)
        except ConfigError as error:
            _refuse(error.faults)
            return None
        except (OSError, ValueError) as error:
            _refuse((Fault("the upstream's settings", "", f"cannot be used: {error}.", ""),))
            return None
        found = changes(self.current.settings, read.settings)
        is_same_catalogue = read.catalog == self.current.catalog
        several = self.current.settings.server.workers > 1
        self.current = Configuration(in_force(self.current.settings, read.settings), read.catalog)
        changed = (*found.at_once, *(() if is_same_catalogue else (CATALOGUE,)))
        _log.info("the configuration was read again; changed: %s", ", ".join(changed) or "nothing")
        if found.with_new_workers:
            how = "new workers (SIGUSR1) or a restart" if several else "a restart"
            _log.warning("%s: in force only after %s", ", ".join(found.with_new_workers), how)
        if found.with_restart:
            _log.warning("%s: in force only after a restart", ", ".join(found.with_restart))
        waiting = read.settings.unbuilt()
        if waiting:
            _log.warning("accepted, but not honoured by this version yet: %s", ", ".join(waiting))
        return self.current

    def _read(self) -> Configuration:
        read = configuration.read(self._path, self._overrides)
        if not read.settings.keys:
            raise without_keys(self._path)
        return read


def _refuse(faults: Sequence[Fault]) -> None:
    _log.error("the configuration was read again and is refused; the old one stays. Faults: %d", len(faults))
    for fault in faults:
        _log.error(
            "%s", " ".join(part for part in (f"{fault.file}:", fault.key, fault.problem, fault.fix) if part)
        )


def on_signals(reader: Reader, tell: Callable[[Configuration], None]) -> None:
    """
    In a gateway of one process: read the configuration again at every SIGHUP.

    The signals are held back in all threads of the process and waited for in one: reading takes a moment, in which
    requests go on. To be called before any other thread is started.

    Args:
        reader: reads.
        tell: is told of what is in force then.
    """
    if sys.platform == "win32":
        return
    signals.hold()

    def wait() -> None:
        while True:
            if signal.sigwait(signals.TOLD) == signal.SIGUSR1:
                _log.error(
                    "SIGUSR1 replaces workers one after another, and there is only one (server.workers = 1): "
                    "restart the gateway, or reload with SIGHUP"
                )
            elif (read := reader.again()) is not None:
                tell(read)

    threading.Thread(target=wait, name="reload", daemon=True).start()
