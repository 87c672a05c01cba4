"""
How the ledger's server is asked: within a bound, once or twice, and to the end.

A write goes on when its caller is cancelled. What has no answer, or found no connection, is asked once more, as all of it is
repeatable by id, as long as the caller's patience lasts; what is refused in words is not.

A server that was not told yet all that this process has done, as it has taken another one's place or was restarted, does
nothing until it was (lua/guard.lua); whoever writes then sees to it first.

With `strict`, a write has been confirmed by a replica, or it is not known whether it lasts: a server that fails loses what
it has not passed on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import PipelineCommand
from redis.exceptions import MovedError, NoScriptError, RedisError, ResponseError

from gateway.adapters.redis.acts import Act, begun, key
from gateway.adapters.redis.connection import (
    FAILURES,
    NotDoneError,
    RedisAddress,
    close,
    connect,
    is_broken,
    is_refused,
    reason_of,
)
from gateway.adapters.redis.scripts import Reply, Value
from gateway.flow.tasks import spawn
from gateway.ports import StoreFailed, UnfitError

T = TypeVar("T")
CONNECTIONS: Final = 32
ATTEMPT_S: Final = 0.45
PATIENCE_S: Final = 0.95
"""Two attempts: a client's call waits a second for the ledger."""
READ_S: Final = 5.0
"""Of whoever only looks: no client's call waits for that."""
CONFIRM_MS: Final = 300
"""How long a write waits for a replica."""
ATTEMPTS: Final = 2
_US: Final = 1_000_000
_UNKNOWN: Final = "-"


class UnconfirmedError(RedisError):
    """It was written, and no replica has said that it has it too."""


@dataclass(frozen=True, slots=True)
class _Raised:
    """Kept as a value: whoever asked may have left, and nobody else is to be told."""

    error: Exception


class Store:
    """
    One process' way to the server.

    Args:
        address: of the server.
        tag: of the keys.
        attempt_s: what one attempt may take, to connect and to be answered.
        patience_s: what all of them may.
        strict: whether writes wait for a replica.
        ledger: which one it is, as `fitness.examine` has found; None: it has no name, and nothing is written to it.
    """

    def __init__(
        self,
        address: RedisAddress,
        tag: str,
        *,
        attempt_s: float = ATTEMPT_S,
        patience_s: float = PATIENCE_S,
        strict: bool = False,
        ledger: str | None = None,
    ) -> None:
        self.address = address
        self.ledger = ledger
        self._tag = tag
        self._attempt_s = attempt_s
        self._patience_s = patience_s
        self._strict = strict
        self._client = connect(
            address, timeout_s=attempt_s, connect_timeout_s=attempt_s, connections=CONNECTIONS
        )
        self._looking = connect(
            address, timeout_s=READ_S, connect_timeout_s=attempt_s, connections=CONNECTIONS
        )
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._looks = asyncio.Semaphore(CONNECTIONS)
        self._writing: set[asyncio.Task[object]] = set()
        self._run = _UNKNOWN
        """The server, by the name of its last start, that was told all that this process did."""
        self._telling: asyncio.Task[object] | None = None
        self.recall: Callable[[str], Awaitable[None]] | None = None
        """Tells a server of this name what this process did, by `told`. None: it keeps nothing in mind."""
        self._ahead_us: int | None = None
        """The server's clock less the loop's; None: not known yet."""

    def key(self, name: str) -> str:
        """The key of this name."""
        return key(self._tag, name)

    # Writing

    async def write(self, act: Act, *arguments: Value) -> Reply:
        """
        Run an act, to its end, whatever becomes of the caller.

        Raises:
            StoreFailed: see there.
        """
        return await self.ask(lambda: self.run(act, *arguments))

    async def ask(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        optional: bool = False,
        over: Callable[[], None] | None = None,
    ) -> T:
        """
        Make an attempt, perhaps a second one, to its end.

        Args:
            attempt: once more is safe.
            optional: not made if the caller has been cancelled before it began.
            over: called when nothing of it is done any more, though the caller may have left long before.

        Raises:
            StoreFailed: see there.
        """
        has_left = asyncio.Event()

        async def kept() -> T | _Raised:
            try:
                async with self._turns:
                    if optional and has_left.is_set():
                        return _Raised(StoreFailed("nobody waits for it any more", unknown=False))
                    return await self._repeated(attempt, self._patience_s)
            except Exception as error:  # noqa: BLE001 - raised again below, where somebody waits for it
                return _Raised(error)

        task = spawn("ledger write", kept())
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        if over is not None:
            task.add_done_callback(lambda _: over())
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            has_left.set()
            raise
        if isinstance(answer, _Raised):
            raise answer.error
        return answer  # type: ignore[return-value]  # that of `kept`, which a task does not say

    async def run(self, act: Act, *arguments: Value) -> Reply:
        """One attempt at an act that writes. For `ask`."""
        return await self.told(self._run, act, *arguments)

    async def told(self, run: str, act: Act, *arguments: Value) -> Reply:
        """
        Likewise, if the server is the one of this name. For `recall`.

        Raises:
            RedisError: it is not, or did not do it.
        """
        arguments = (run, *arguments)
        keys = (*(self.key(one) for one in act.keys), self.key(begun(self.ledger or "")))
        if not self._strict:
            return await act.script.run(self._client, keys, *arguments)
        rest: tuple[Value, ...] = (len(keys), *keys, *arguments)
        try:
            return await self._confirmed("EVALSHA", act.script.sha, *rest)
        except NoScriptError:
            return await self._confirmed("EVAL", act.script.text, *rest)

    async def info(self) -> Mapping[str, Any]:
        """
        What the ledger's server says of itself. For `recall`.

        Raises:
            RedisError: it does not say it.
        """
        # Any: redis-py makes numbers of some values.
        client = self._client
        if isinstance(client, RedisCluster):
            await client.initialize()
            node = client.get_node_from_key(self.key("mark"))
            return dict(await client.execute_command("INFO", target_nodes=node))
        return dict(await client.info())

    def latest(self) -> str:
        """Until when, by the server's clock, an attempt that is made now is of use, microseconds; empty: not known."""
        if self._ahead_us is None:
            return ""
        now = asyncio.get_running_loop().time() + self._attempt_s
        return str(round(now * _US) + self._ahead_us)

    def learn(self, server_us: int) -> None:
        """What the server's clock said a moment ago."""
        self._ahead_us = server_us - round(asyncio.get_running_loop().time() * _US)

    async def _repeated(self, attempt: Callable[[], Awaitable[T]], patience_s: float) -> T:
        loop = asyncio.get_running_loop()
        end = loop.time() + patience_s
        unknown = False
        for number in range(1, ATTEMPTS + 1):
            try:
                async with asyncio.timeout_at(end):
                    return await self._met(attempt)
            except FAILURES as error:
                unknown = unknown or not is_refused(error)
                if number == ATTEMPTS or loop.time() >= end or not _is_worth_another(error):
                    reason = reason_of(error, self.address)
                    raise StoreFailed(reason, unknown=unknown, damaged=is_broken(error)) from error
        raise AssertionError("the last attempt has answered or failed")

    async def _met(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Make an attempt; if the server is another one than before, once more when it was told what there is to tell."""
        try:
            return await attempt()
        except ResponseError as error:
            word, _, rest = str(error).partition(" ")
            if word != "ANOTHER":
                raise
        run = rest.partition(" ")[0]
        if self._telling is None or self._telling.done():
            self._telling = spawn("recall", self._tell(run))
        raised = await asyncio.shield(self._telling)
        if isinstance(raised, _Raised):
            raise raised.error
        return await attempt()

    async def _tell(self, run: str) -> _Raised | None:
        if run == self._run:
            return None
        try:
            if self.recall is not None:
                await self.recall(run)
        except FAILURES as error:
            return _Raised(error)
        except UnfitError as error:
            return _Raised(StoreFailed(str(error), unknown=False))
        self._run = run
        return None

    async def _confirmed(self, *command: Value) -> Reply:
        # Done again, a write may find nothing left to write; but a replica that has what comes after it has it too.
        witness = ("HINCRBY", self.key("mark"), "confirmed", 1)
        answer, _, copies = await self._together(command, witness, ("WAIT", 1, CONFIRM_MS))
        if isinstance(answer, Exception):
            raise answer
        if isinstance(copies, Exception):
            raise copies
        if copies < 1:
            raise UnconfirmedError(f"no replica has confirmed the write within {CONFIRM_MS} ms")
        return answer

    async def _together(self, *commands: tuple[Value, ...]) -> list[Reply]:
        """The answers, errors too, of commands that follow one another over one connection."""
        if not isinstance(self._client, RedisCluster):
            async with self._client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                return await pipeline.execute(raise_on_error=False)
        await self._client.initialize()
        node = self._client.get_node_from_key(self.key("mark"))
        if node is None:
            raise NotDoneError("no node of the cluster has the ledger's slot")
        asked = [PipelineCommand(number, *command) for number, command in enumerate(commands)]
        await node.execute_pipeline(asked)
        if isinstance(asked[0].result, MovedError):
            await self._client.nodes_manager.move_slot(asked[0].result)
        return [one.result for one in asked]

    # Looking

    async def read(self, act: Act, *arguments: Value) -> Reply:
        """
        Run an act that only looks.

        Raises:
            StoreFailed: with `unknown` False.
        """
        keys = tuple(self.key(one) for one in act.keys)
        return await self._looked(lambda: act.script.run(self._looking, keys, *arguments))

    async def look(self, name: str, key_: str, *arguments: Value) -> Reply:
        """Likewise a command. Arguments: its name, the name of its key, the rest."""
        return await self._looked(lambda: self._looking.execute_command(name, self.key(key_), *arguments))

    async def _looked(self, looking: Callable[[], Awaitable[Reply]]) -> Reply:
        async def looked() -> Reply:
            try:
                async with self._looks:
                    return await self._repeated(looking, READ_S)
            except StoreFailed as failed:
                reason = reason_of(failed.__cause__ or failed, self.address)
                return _Raised(StoreFailed(reason, unknown=False, damaged=failed.damaged))
            except Exception as error:  # noqa: BLE001 - likewise
                return _Raised(error)

        # In a task of its own: redis-py sends by `asyncio.wait_for`, which up to Python 3.11 can lose a cancellation.
        task = spawn("ledger read", looked())
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if isinstance(answer, _Raised):
            raise answer.error
        return answer

    async def aclose(self) -> None:
        """Finish what was begun and close the connections; they open again when something comes later."""
        while waiting := {
            *self._writing,
            *(() if self._telling is None or self._telling.done() else (self._telling,)),
        }:
            await asyncio.wait(waiting)
        await close(self._client)
        await close(self._looking)


def _is_worth_another(error: BaseException) -> bool:
    """A refusal in words would be said again, unless it says where to go, or when."""
    return isinstance(error, (MovedError, NotDoneError)) or not isinstance(error, ResponseError)
