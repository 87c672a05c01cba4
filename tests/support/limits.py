"""
Keys with limits, calls of a known size, and how the limits stand.

`PICTURE` is a call whose estimate can be reckoned by hand: a prompt of five bytes, a picture of 272 tokens.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.clock import SystemClock
from gateway.core.limits import Unit, parse_limit
from gateway.core.quota import Claimant
from gateway.sandbox.app import create
from tests.support.books import MARK, Books, eventually
from tests.support.sandbox import serve

PATIENCE_S = 60.0
PICTURE: dict[str, Any] = {
    "model": "gpt-image-1",
    "prompt": "a fox",
    "size": "1024x1024",
    "quality": "low",
}
IMAGE_TOKENS = 272
"""Of `PICTURE`, known before the call."""
TOKENS = 5 + 64 + IMAGE_TOKENS
"""The most that it can use: a token for each byte of its prompt, and 64 more."""
NUSD = 5_000 * (5 + 64) + 40_000 * IMAGE_TOKENS
"""The most that it can cost, at 5 dollars for a million tokens in and 40 out."""
ROOMY = ("1000000 requests total", "1000000 images total", "1000000000 image_tokens total")
_LOOKED_AT = (*ROOMY, "1000000000 tokens total", "$1000000 total", "1000000 concurrent")


def dollars(nusd: int) -> str:
    """Nano-dollars as a limit has them: `$0.012345678`."""
    whole, nano = divmod(nusd, 1_000_000_000)
    return f"${whole}.{nano:09}"


@dataclass(frozen=True)
class Tenant:
    """
    A key of the configuration.

    Args:
        name: its id; its secret is `sk-NAME`.
        limits: its own.
        team: the one that it belongs to; by default one of its own, of its name.
        rest: a further line of the key.
    """

    name: str
    limits: Sequence[str] = ()
    team: str = ""
    rest: str = ""

    @property
    def secret(self) -> str:
        return f"sk-{self.name}"

    @property
    def scope(self) -> str:
        """What its limits are kept under."""
        return f"key:{self.name}"


def configured(
    tenants: Iterable[Tenant],
    *,
    teams: Mapping[str, Sequence[str]] | None = None,
    org: Sequence[str] = (),
    workers: int = 1,
) -> str:
    """The sections of a configuration file that have these tenants; `teams`: the limits of those that have any."""
    known, limited = list(tenants), dict(teams or {})
    names = dict.fromkeys(one.team or one.name for one in known)
    parts = [f"\n[server]\nworkers = {workers}\n\n[org]\nlimits = {_listed(org)}"]
    parts += [f'[[team]]\nid = "{name}"\nlimits = {_listed(limited.get(name, ()))}' for name in names]
    parts += [
        f'[[key]]\nid = "{one.name}"\nteam = "{one.team or one.name}"\nsecret = "{one.secret}"\n'
        f"limits = {_listed(one.limits)}\n{one.rest}"
        for one in known
    ]
    return "\n\n".join(parts)


def _listed(limits: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{one}"' for one in limits) + "]"


@dataclass(frozen=True)
class Answer:
    """What a client got."""

    mark: str
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["error"]
        return found


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a gateway, with as many connections as it has calls under way."""
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(
        base_url=f"{url}/v1", trust_env=False, verify=False, timeout=PATIENCE_S, limits=limits
    ) as http:
        yield http


async def ask(
    http: httpx2.AsyncClient,
    tenant: Tenant,
    mark: str = "",
    *,
    path: str = "images/generations",
    body: Mapping[str, Any] = PICTURE,
    steering: str = "",
) -> Answer:
    """One call to its end. `mark`: by which the sandbox knows it."""
    headers = {"authorization": f"Bearer {tenant.secret}", MARK: mark}
    if steering:
        headers["x-sandbox"] = steering
    got = await http.post(path, json=dict(body), headers=headers)
    plain = "json" in got.headers.get("content-type", "")
    return Answer(mark, got.status_code, dict(got.headers), got.json() if plain else got.text)


@dataclass(frozen=True)
class State:
    """What a scope has used and holds, all time."""

    used: Mapping[Unit, int]
    held: Mapping[Unit, int]

    @property
    def holds_nothing(self) -> bool:
        """Neither money nor pictures, nor a place."""
        return not any(self.held.values()) and self.used[Unit.CONCURRENT] == 0


async def state(books: Books, scope: str) -> State:
    """As the ledger says it now."""
    at = SystemClock().now()
    limits = tuple(parse_limit(one) for one in _LOOKED_AT)
    readings = await books.ledger.limits([Claimant(scope, limits)], ZoneCalendar("UTC").frames(at), at)
    return State(
        {one.limit.unit: one.used for one in readings}, {one.limit.unit: one.held for one in readings}
    )


async def all_given_back(books: Books, scopes: Iterable[str], patience_s: float = PATIENCE_S) -> None:
    """Returns once none of these scopes holds anything."""
    left = list(scopes)

    async def is_given_back() -> bool:
        left[:] = [one for one in left if not (await state(books, one)).holds_nothing]
        return not left

    await eventually(is_given_back, patience_s, lambda: f"{left} still hold something")
    # Whatever is under way elsewhere: at every moment the books add up.
    assert await books.ledger.verify() == ()


class Turnstile:
    """
    An upstream that keeps its visitors waiting until it is opened.

    As long as it is shut nothing is settled, so that what passes a limit meanwhile does not depend on who is faster.
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self._is_open = False
        self.came: list[str] = []
        """The marks of the POSTs that have come, ever."""

    def open(self) -> None:
        """Let in who waits, and who comes."""
        self._is_open = True

    def shut(self) -> None:
        """Let nobody in who comes from now on."""
        self._is_open = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith("/v1/"):
            self.came.append(dict(scope["headers"]).get(MARK.encode(), b"").decode("latin-1"))
            while not self._is_open:  # It runs in a loop of its own: whoever opens it is in another thread.
                await asyncio.sleep(0.005)
        await self._application(scope, receive, send)


@dataclass(frozen=True)
class Upstream:
    """A sandbox behind a turnstile."""

    url: str
    turnstile: Turnstile = field(repr=False)


@contextmanager
def guarded_sandbox() -> Iterator[Upstream]:
    """A sandbox in a thread beside the test whose turnstile is open."""
    turnstile = Turnstile(create(0))
    turnstile.open()
    with serve(turnstile) as url:
        try:
            yield Upstream(url, turnstile)
        finally:
            turnstile.open()
