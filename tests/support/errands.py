"""
Calls as values: what is asked, what goes wrong with it, what its client does; and how ledger and bill compare then.

`Customer.run` makes the call and does what its client does. Nothing here chooses (chance.py) or judges the books.
"""

import asyncio
import io
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import httpx2
import openai

from tests.support.books import MARK, METERED, eventually
from tests.support.pair import LivePair
from tests.support.raw import PATIENCE_S
from tests.support.sandbox_client import png

UNSURE = frozenset({"fail=mid-stream", "fail=lost", "fail=hang", "fail=before", "fail=504"})
"""The line is cut, or what came does not say what became of the call."""
HIDDEN = frozenset({"usage=omit", "tool_usage=omit"})
UNTOLD = HIDDEN | {"usage=without_surcharge"}
STOPPED = frozenset({"fail=error-event", "moderate=output"})
"""A stream of pictures says that it failed, after partial images that had been delivered."""
ENDED_EARLY = frozenset({"cancel", "delete"})
"""A background response of which nobody learns what it came to."""
_BEGINNING_BYTES = 4096
"""Of an answer: its id is there."""


class How(Enum):
    """How the ledger compares with the bill of one call."""

    EQUAL = "equal"
    SAME_PICTURES = "the same pictures and output image tokens, and not less"
    NOT_LESS = "not less"
    FREE = "no record, and no bill"


@dataclass(frozen=True)
class Errand:
    """
    One call.

    Args:
        path: below `/v1/`.
        body: its JSON, or its fields.
        faults: parts of `X-Sandbox`.
        form: sent as a multipart form.
        finish: its key has calls finished that their client left; otherwise they are cut.
        leave: events after which the client leaves (of a plain answer: after its first bytes); 0 is before the head,
            as soon as the call has arrived upstream.
        then: what the client of a response does next.
        sdk: made by the official SDK, which retries twice.
        limit_s: how long the SDK waits for a byte.
        hurried: by way of the gateway that does not wait long.
    """

    path: str
    body: dict[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    form: bool = False
    finish: bool = True
    leave: int | None = None
    then: str = ""
    sdk: bool = False
    limit_s: float | None = None
    hurried: bool = False

    @property
    def how(self) -> How:
        """How ledger and bill compare, whatever else happens at the same time."""
        stream, background = self.body.get("stream", False), self.body.get("background", False)
        faults = set(self.faults)
        if self.path == "responses/input_tokens":
            return How.FREE
        has_left = self.leave is not None or self.limit_s is not None
        # A response that runs in the background is known by its first event: then the gateway asks for it itself.
        is_followed = background and stream and self.leave != 0 and self.limit_s is None
        # Of one whose stream was cut only the end is seen: partial images that it does not report are supposed.
        is_supposed = background and stream and self.leave is not None and not self.finish
        if (
            faults & UNSURE
            or (has_left and not self.finish and not is_followed)
            or self.then in ENDED_EARLY
            or (is_supposed and faults & UNTOLD)
            or (stream and self.path.startswith("images/") and faults & STOPPED)
        ):
            return How.NOT_LESS
        return How.SAME_PICTURES if faults & HIDDEN else How.EQUAL


@dataclass
class Customer:
    """
    Who makes the calls.

    Args:
        pair: where.
        attempts: calls that can cost something, by mark; the SDK's retries are calls, too.
    """

    pair: LivePair
    attempts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Set up the client, and the SDKs on top of it."""
        self.http = httpx2.AsyncClient(
            trust_env=False,
            timeout=PATIENCE_S,
            limits=httpx2.Limits(max_keepalive_connections=0, max_connections=None),
            event_hooks={"request": [self._count]},
        )
        self._sdks = {
            url: openai.AsyncOpenAI(base_url=url, api_key="sk-none", http_client=self.http, max_retries=2)
            for url in (self.pair.base_url, self.pair.hurried_url)
        }

    async def aclose(self) -> None:
        """Close every connection."""
        await self.http.aclose()

    async def run(self, errand: Errand, mark: str, secret: str) -> None:
        """
        Make the call, read of its answer what its client wants to have, and do what it does next.

        Args:
            errand: the call.
            mark: it carries up.
            secret: the key that pays.
        """
        url = self.pair.hurried_url if errand.hurried else self.pair.base_url
        headers = {MARK: mark, "authorization": f"Bearer {secret}"}
        if errand.faults:
            headers["x-sandbox"] = "; ".join(errand.faults)
        if errand.sdk:
            await self._by_sdk(self._sdks[url], errand, headers)
            return
        calling = asyncio.get_running_loop().create_task(self._by_http(url, errand, headers))
        if errand.leave == 0:
            await eventually(lambda: self._has_arrived(mark, calling))
            calling.cancel()
        with suppress(asyncio.CancelledError):
            response_id = await calling
            if errand.then and response_id is not None:
                await self._come_back(f"{url}/responses/{response_id}", errand, headers)

    async def _has_arrived(self, mark: str, calling: "asyncio.Task[str | None]") -> bool:
        return self.pair.sandbox.came[mark] > 0 or calling.done()

    async def _by_http(self, url: str, errand: Errand, headers: dict[str, str]) -> str | None:
        """The call without an SDK; the id of the response that it made, if it did."""
        request: dict[str, Any] = {"json": errand.body}
        if errand.form:
            fields = {name: _spelled(value) for name, value in errand.body.items()}
            request = {"data": fields, "files": {"image": ("a.png", png((96, 64)), "image/png")}}
        beginning, events, before = b"", 0, b""
        with suppress(httpx2.TransportError):
            async with self.http.stream("POST", f"{url}/{errand.path}", headers=headers, **request) as reply:
                async for chunk in reply.aiter_raw():
                    beginning += chunk[: max(0, _BEGINNING_BYTES - len(beginning))]
                    events += (before + chunk).count(b"\n\n") if errand.body.get("stream") else 1
                    before = chunk[-1:] if not chunk.endswith(b"\n\n") else b""
                    if errand.leave is not None and events >= errand.leave:
                        break
        _, found, rest = beginning.partition(b'"resp_')
        return "resp_" + rest.partition(b'"')[0].decode() if found else None

    async def _by_sdk(self, sdk: openai.AsyncOpenAI, errand: Errand, headers: dict[str, str]) -> None:
        options: dict[str, Any] = {
            "extra_headers": headers,
            "timeout": httpx2.Timeout(PATIENCE_S, read=errand.limit_s or PATIENCE_S),
        }
        create: Any
        match errand.path:
            case "images/generations":
                create = sdk.images.generate
            case "images/edits":
                create, options["image"] = sdk.images.edit, ("a.png", io.BytesIO(png((96, 64))), "image/png")
            case _:
                create = sdk.responses.create
        with suppress(openai.APIError, httpx2.TransportError):
            answer = await create(**errand.body, **options)
            if errand.body.get("stream"):
                async for _ in answer:
                    pass

    async def _come_back(self, url: str, errand: Errand, headers: dict[str, str]) -> None:
        """What the client of a response does next."""
        only = {"authorization": headers["authorization"]}

        async def is_over() -> bool:
            found = (await self.http.get(url, headers=only)).json()
            return found.get("status") not in {"queued", "in_progress"}

        match errand.then:
            case "cancel":
                await self.http.post(f"{url}/cancel", headers=only)
            case "delete":
                await self.http.delete(url, headers=only)
            case "poll and delete":
                await eventually(is_over)
                await self.http.delete(url, headers=only)
            case "poll":
                await eventually(is_over)
            case "look often":
                await asyncio.gather(*(self.http.get(url, headers=only) for _ in range(5)))
                await eventually(is_over)
                await asyncio.gather(*(self.http.get(url, headers=only) for _ in range(5)))
            case "resume":
                await self.http.get(f"{url}?stream=true&starting_after=1", headers=only)
                await self.http.post(f"{url}/cancel", headers=only)
            case "go on":
                body = {name: value for name, value in errand.body.items() if name != "stream"}
                turn = {**body, "previous_response_id": url.rpartition("/")[2]}
                await self.http.post(f"{url.rpartition('/')[0]}", json=turn, headers=headers)
            case _:
                pass  # It forgets it.

    async def _count(self, request: httpx2.Request) -> None:
        if request.method == "POST" and request.url.path.removeprefix("/v1/") in METERED:
            self.attempts[request.headers[MARK]] += 1


def _spelled(value: object) -> Any:
    """As a form says it."""
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int) else value
