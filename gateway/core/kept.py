"""
What waits for the store while it does not answer: values, and how they are written down.

    Due        a call is over: its record
    Entrusted  a call goes on in the background upstream
    Passed     a call was let through uncounted: what it would have held

They land in the order in which they were kept: what they do is repeatable by the call's id. None holds a prompt, a
picture or a secret: a record has no field for them, and of what was asked only what `remembered` keeps is kept.

Not here: where they are kept (the Outbox port), when they land (flow/keep.py).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, assert_never

import orjson

from gateway.core import remembered
from gateway.core.call import Call
from gateway.core.ledger import OpenCall, flat, from_flat
from gateway.core.limits import parse_limit
from gateway.core.quota import Amounts, Claim, Claimant
from gateway.core.record import Record
from gateway.core.windows import Frames


@dataclass(frozen=True, slots=True)
class Due:
    """A settlement."""

    record: Record
    images: int = 0
    """Pictures that the call is charged for."""

    @property
    def call_id(self) -> str:
        """Of the call."""
        return self.record.id


@dataclass(frozen=True, slots=True)
class Entrusted:
    """A call that runs in the background from now on; the arguments of `Ledger.entrust`."""

    call_id: str
    response_id: str
    deadline: float
    """Epoch seconds."""
    asked: Call | None = None


@dataclass(frozen=True, slots=True)
class Passed:
    """A call that passed while nobody could count it."""

    record: Record
    """As it would be if it were lost now."""
    claimants: tuple[Claimant, ...]
    asked: Amounts

    @property
    def call_id(self) -> str:
        """Of the call."""
        return self.record.id

    @property
    def noted(self) -> OpenCall:
        """As the ledger notes it."""
        return OpenCall(record=self.record, dispatched=True)

    def claim(self, frames: Frames) -> Claim:
        """
        What it asks for.

        Args:
            frames: around the time at which it is counted. It is that of landing: a store knows no window that lies
                further back than a day.
        """
        return Claim(id=self.record.id, claimants=self.claimants, asked=self.asked, frames=frames)


Entry = Due | Entrusted | Passed


def dumps(entry: Entry) -> bytes:
    """An entry as JSON."""
    plain: dict[str, object]
    match entry:
        case Due():
            plain = {"due": flat(entry.record), "images": entry.images}
        case Entrusted():
            asked = None if entry.asked is None else remembered.dumps(entry.asked).decode()
            plain = {
                "entrusted": entry.call_id,
                "response_id": entry.response_id,
                "deadline": entry.deadline,
                "asked": asked,
            }
        case Passed():
            claimants = [[one.scope, [limit.text for limit in one.limits]] for one in entry.claimants]
            plain = {"passed": flat(entry.record), "claimants": claimants, "asked": asdict(entry.asked)}
        case _:
            assert_never(entry)
    return orjson.dumps(plain)


def loads(text: bytes) -> Entry:
    """
    The entry that `dumps` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        return _read(orjson.loads(text))
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no entry of an outbox: {error!r}") from error


def _read(plain: Mapping[str, Any]) -> Entry:
    # Any: it was JSON, and an entry before that.
    if "due" in plain:
        return Due(from_flat(plain["due"]), plain["images"])
    if "entrusted" in plain:
        return Entrusted(
            plain["entrusted"], plain["response_id"], plain["deadline"], remembered.loads(plain["asked"])
        )
    claimants = (
        Claimant(scope, tuple(parse_limit(limit) for limit in limits)) for scope, limits in plain["claimants"]
    )
    return Passed(from_flat(plain["passed"]), tuple(claimants), Amounts(**plain["asked"]))
