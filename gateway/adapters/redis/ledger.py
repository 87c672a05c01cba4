"""The `Ledger` port over a Redis or Valkey that gateways on several machines share."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final, Self

import orjson

from gateway.adapters.redis import claims, rows, verify
from gateway.adapters.redis.acts import TAG, Act, act
from gateway.adapters.redis.connection import NotDoneError, RedisAddress
from gateway.adapters.redis.fitness import examine, see_that_it_keeps
from gateway.adapters.redis.ledger_care import Care
from gateway.adapters.redis.ledger_store import ATTEMPT_S, PATIENCE_S, Store
from gateway.adapters.redis.queries import Reads
from gateway.adapters.redis.recall import Recall
from gateway.adapters.redis.retelling import tell_again
from gateway.adapters.redis.scripts import Reply, Value
from gateway.adapters.redis.settling import settlement, written
from gateway.adapters.workers import this_worker
from gateway.core.call import Call
from gateway.core.ledger import OpenCall, Settlement, micros
from gateway.core.limits import MAX_DOUBLE_USD, Limit, fits_doubles
from gateway.core.quota import Claim, Exceeded, Standing, charge_of
from gateway.core.record import Record
from gateway.core.verify import Broken
from gateway.ports import LargeLimitError, StoreFailed

_HOLD: Final = 6
"""Where lua/enter.lua is told whether a call holds something."""
TIDIED_AT_ONCE: Final = 500
"""Records or rows that one act forgets: others wait for the server meanwhile."""


class RedisReader(Reads):
    """The `LedgerReader` port: reads a ledger, whether a gateway runs or not."""

    @classmethod
    def open(cls, address: RedisAddress, *, tag: str = TAG) -> Self:
        """
        A reader of the ledger at this address. Not to be called where a loop must not wait.

        Args:
            address: of the server.
            tag: of the ledger's keys.

        Raises:
            UnfitError: there is none, or it cannot be read; the message says what to do.
        """
        ledger = examine(address, tag, only_looks=True, make=False)
        return cls(Store(address, tag, ledger=ledger))


class RedisLedger(Reads):
    """
    The `Ledger` port over a server that all workers share. See `open`, which makes sure that it is fit.

    The clock is the server's, read when an act runs.

    Args:
        store: where it lies.
        now: reads the clock of the store instead, epoch seconds; for tests.
    """

    def __init__(self, store: Store, now: Callable[[], float] | None = None) -> None:
        super().__init__(store)
        self._now = now
        self._worker = this_worker()
        self._about = orjson.dumps([self._worker.host, self._worker.pid, self._worker.born])
        self._entering: dict[str, asyncio.Event] = {}
        """Calls that are at a door, whose callers may have left."""
        self._recall = Recall()
        self._has_met_one = False
        """A server: the first was seen to when the ledger was opened."""
        store.recall = self._tell_again
        self._care = Care(store, self._worker, self._about, self._time)

    @classmethod
    def open(
        cls,
        address: RedisAddress,
        now: Callable[[], float] | None = None,
        *,
        tag: str = TAG,
        strict: bool = False,
        attempt_s: float = ATTEMPT_S,
        patience_s: float = PATIENCE_S,
        make: bool = True,
        name: str | None = None,
    ) -> Self:
        """
        The ledger at this address, once the server was found fit. Not to be called where a loop must not wait.

        Args:
            address: of the server.
            now: as of the class.
            tag: of the ledger's keys; two ledgers on one server differ in it.
            strict: whether every write waits until a replica has it too.
            attempt_s: what one attempt of a write may take.
            patience_s: what both may.
            make: whether it is made if it is not there. A worker that starts later must not: an empty ledger in place
                of one that has gone would give every budget anew.
            name: of the ledger that its gateway has found: it is not looked for again, and may be away just now. None: whichever is
                there.

        Raises:
            UnfitError: it cannot be used; the message says why and what to do.
        """
        ledger = name or examine(address, tag, strict=strict, make=make)
        store = Store(address, tag, attempt_s=attempt_s, patience_s=patience_s, strict=strict, ledger=ledger)
        return cls(store, now)

    @property
    def worker(self) -> str:
        """The name of this process."""
        return self._worker.id

    # The doors

    async def admit(self, claim: Claim) -> Standing | Exceeded:
        """Let a call in, if its limits do."""
        return await self._enter(claim.id, claim, ("0", "0", "", ""))

    async def reserve(
        self, call: OpenCall, claim: Claim | None = None, *, force: bool = False
    ) -> Standing | Exceeded:
        """Hold what a call may come to, if its limits let it, and note it."""
        record_id, _ = rows.known_as(call.record)
        opened = rows.to_open(call, self.worker)
        return await self._enter(record_id, claim, ("1", "1" if force else "0", *opened))

    async def _enter(self, call_id: str, claim: Claim | None, rest: tuple[Value, ...]) -> Standing | Exceeded:
        asked = b"" if claim is None else claims.to_claim(claim.claimants, claim.frames, claim.asked)
        about = (call_id, self.worker, self._about, asked, *rest)
        reply = await self.timely(call_id, act("enter"), *about)
        if self._now is None:
            self._store.learn(int(reply[1]))
        match reply[0]:
            case b"recorded":
                return Standing(int(reply[1]))
            case b"clock":
                raise StoreFailed(
                    "the clocks of the gateway and of its store are more than a day apart", unknown=False
                )
            case b"passed":
                hold, _, *noted = rest
                again: tuple[Value, ...] = (reply[1], "", *about[:4], hold, "1", *noted)
                self._recall.did(call_id, "enter", *again)
        return claims.answer_of(reply, claim)

    async def leave(self, call_id: str) -> None:
        """Give back the place of a call. If it is just entering, after that: a place that is taken later would stay."""
        await self.entered(call_id)
        await self._store.write(act("leave"), call_id)
        if self._recall.knows(call_id):
            if any(one.act == "enter" and one.arguments[_HOLD] == "1" for one in self._recall.of(call_id)):
                self._recall.did(call_id, "leave", call_id)
            else:  # It took nothing that outlasts it, but another server may know that it came in, and not that it left.
                self._recall.forget(call_id)
                self.did(call_id, "leave", call_id, ends=True)

    # What becomes of a call

    async def dispatch(self, record_id: str) -> bool:
        """Note that the request goes up."""
        found = bool(await self._store.write(act("dispatch"), record_id))
        self.did(record_id, "dispatch", record_id, begins=False)
        return found

    async def entrust(
        self, record_id: str, response_id: str, deadline: float, asked: Call | None, *, leaves: bool = True
    ) -> bool:
        """Note that the call runs in the background, and what was asked."""
        response = (response_id, rows.digest(response_id), str(micros(deadline)))
        kept = (rows.to_asked(asked), "1" if leaves else "0")
        found = bool(await self._store.write(act("entrust"), record_id, *response, *kept))
        self.did(record_id, "entrust", record_id, *response, *kept)
        return found

    async def settle(self, record: Record, images: int = 0) -> Settlement:
        """Write a call's record and close the call."""
        charge = rows.to_charge(charge_of(record, images))
        asked = (*written(record), *charge)
        await self.entered(record.id)
        found = settlement(record, await self._store.write(act("settle"), *asked))
        self.did(record.id, "settle", *asked, ends=True)
        return found

    # The workers

    async def beat(self, *, pardon: bool = False) -> None:
        """
        This worker lives, and so may others.

        Raises:
            StoreFailed: likewise if the server is another one than before, and others have not told it yet what they hold.
        """
        await self._care.beat(pardon=pardon)

    async def adopt(self, held: Collection[str] = ()) -> tuple[OpenCall, ...]:
        """Take over the background calls of dead workers."""
        return await self._care.adopt(held)

    async def reap(self) -> tuple[Record, ...]:
        """Settle as lost what dead workers left."""
        return await self._care.reap()

    async def _tell_again(self, run: str) -> None:
        """
        Tell the server of this name what this process did, as far as it does not know.

        Raises:
            RedisError: it was not told all of it.
            UnfitError: it is not fit to keep a ledger, which its predecessor was.
        """
        if self._has_met_one:
            see_that_it_keeps(self._store.address, await self._store.info())
        self._has_met_one = True
        await tell_again(self._store, self._recall, run)
        await self._store.told(run, act("rejoin"), self._time(), self.worker)

    def did(
        self, subject: str, name: str, *arguments: Value, begins: bool = True, ends: bool = False
    ) -> None:
        """
        An act was done, which another server that takes the place of this one may not know of.

        Args:
            subject: what it was about.
            name: of the act.
            arguments: its own, as they are to be told again.
            begins: it is told again even if nothing else is about its subject.
            ends: nothing comes after it.
        """
        if begins or self._recall.knows(subject):
            self._recall.did(subject, name, *arguments)
        if ends:
            self._recall.ended(subject, asyncio.get_running_loop().time())

    # The rest

    async def prune(self, before: float) -> int:
        """Forget the records that arrived earlier."""
        pruned = 0
        while some := await self._store.write(act("prune"), rows.at_text(micros(before)), TIDIED_AT_ONCE):
            pruned += some
            if some < TIDIED_AT_ONCE:
                break
        left_out, looked_at = 0, TIDIED_AT_ONCE
        while looked_at == TIDIED_AT_ONCE:
            left_out, looked_at = await self._store.write(act("tidy"), self._time(), TIDIED_AT_ONCE, left_out)
        return pruned

    async def set_limits(self, scope: str, limits: Sequence[Limit] | None) -> None:
        """Put limits before those configured."""
        if limits is None:
            await self._limit(scope, b"")
            return
        large = next((limit for limit in limits if not fits_doubles(limit)), None)
        if large is not None:
            raise LargeLimitError(large, f"${MAX_DOUBLE_USD:,}")
        await self._limit(scope, orjson.dumps(claims.to_limits(limits)))

    async def _limit(self, scope: str, limits: bytes) -> None:
        at = await self._store.write(act("limit"), scope, limits, "")
        subject = f"limits of {scope}"
        self._recall.forget(subject)
        self.did(subject, "limit", scope, limits, at, ends=True)

    async def repair(self) -> tuple[Broken, ...]:
        """Mend what does not add up."""
        return await verify.repair(self._store)

    @property
    def named(self) -> tuple[str, bytes]:
        """This worker, and what tells whether it is alive, as acts are told of it."""
        return self.worker, self._about

    async def act(self, what: Act, *arguments: Value, timed: bool = True) -> Reply:
        """
        What an act answers that lies with the ledger. It goes on if its caller is cancelled.

        Args:
            what: the act; repeatable, as all of them.
            arguments: its own.
            timed: it is told the time first.

        Raises:
            StoreFailed: as those of the ledger.
        """
        return await self._store.write(what, *((self._time(),) if timed else ()), *arguments)

    async def entered(self, subject: str) -> None:
        """Returns when no `timely` act about this subject is under way here, which its caller may have left."""
        entering = self._entering.get(subject)
        if entering is not None:
            await entering.wait()

    async def timely(self, call_id: str, what: Act, *arguments: Value) -> Reply:
        """
        Likewise of an act of which nobody learns any more if it is done too late: the server leaves it undone then.

        It is told the time and until when it is of use.

        Raises:
            StoreFailed: as those of the ledger.
        """
        over = self._entering[call_id] = asyncio.Event()

        def ended() -> None:
            over.set()
            if self._entering.get(call_id) is over:
                del self._entering[call_id]

        async def attempt() -> Reply:
            reply = await self._store.run(what, self._time(), self._store.latest(), *arguments)
            if reply and reply[0] == b"late":
                self._store.learn(int(reply[1]))
                raise NotDoneError("whoever asked had given up by then, by the server's clock")
            return reply

        return await self._store.ask(attempt, optional=True, over=ended)

    async def aclose(self) -> None:
        """Take leave, and close the connections."""
        await self._care.farewell()
        await super().aclose()

    async def ping(self) -> None:
        """Returns if the ledger can be written to."""
        await self._store.ask(lambda: self._store.run(act("ping")), optional=True)

    def _time(self) -> str:
        return "" if self._now is None else str(micros(self._now()))
