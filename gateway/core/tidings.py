"""
What a leader tells its followers in other processes, as bytes for a store: the head of its answer, and how it landed.

Another version of this program may read it. A landing that it does not know is `Lost`: nobody can tell how that ended.

Not here: the body, which is told as it comes; what carries it (the Flights port).
"""

from collections.abc import Sequence
from typing import assert_never

import orjson

from gateway.core.errors import Failure
from gateway.core.flight import Cut, Erred, Failed, Landing, Lost, Stored, Withheld
from gateway.core.freshness import Reason
from gateway.core.headers import Header


def head_dumps(status: int, headers: Sequence[Header]) -> bytes:
    """A head, as JSON."""
    plain = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]
    return orjson.dumps([status, plain])


def head_loads(data: bytes) -> tuple[int, tuple[Header, ...]]:
    """
    The status and the headers that were dumped.

    Raises:
        ValueError: that is no head.
    """
    try:
        status, headers = orjson.loads(data)
        return int(status), tuple(
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in headers
        )
    except (AttributeError, TypeError) as error:
        raise ValueError("this is no head of an answer") from error


def landing_dumps(landing: Landing) -> bytes:
    """A landing, as JSON."""
    match landing:
        case Stored() | Lost():
            rest: dict[str, object] = {}
        case Withheld(reason):
            rest = {"reason": reason.value}
        case Erred(status):
            rest = {"status": status}
        case Failed(failure, phase, sent):
            rest = {"failure": failure.value, "phase": phase, "sent": sent}
        case Cut(failure, phase):
            rest = {"failure": failure.value, "phase": phase}
        case _:
            assert_never(landing)
    return orjson.dumps({"landing": type(landing).__name__, **rest})


def landing_loads(data: bytes | str) -> Landing:
    """The landing that was dumped; `Lost` where that is not known here."""
    try:
        said = orjson.loads(data)
        match said["landing"]:
            case "Stored":
                return Stored()
            case "Withheld":
                return Withheld(Reason(said["reason"]))
            case "Erred":
                return Erred(int(said["status"]))
            case "Failed":
                return Failed(Failure(said["failure"]), str(said["phase"]), sent=bool(said["sent"]))
            case "Cut":
                return Cut(Failure(said["failure"]), str(said["phase"]))
            case _:
                return Lost()
    except (ValueError, KeyError, TypeError):
        return Lost()
