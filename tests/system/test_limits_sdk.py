"""The official SDKs against limits: they wait where that helps, and do not hammer where it does not."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.core.record import Outcome, Record
from tests.support.books import MARK, Books, eventually
from tests.support.limits import NUSD, PICTURE, Tenant, Upstream, configured, dollars, guarded_sandbox
from tests.support.node import installed
from tests.support.process import Running, gateway_process

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("limits-sdk")]

PASSED = {"images": 1}
LIMITS = {
    "rate": "2 requests per second",
    "budget": f"{dollars(NUSD)} per day",
    "total": "1 image total",
    "hour": "1 request per hour",
    "place": "1 concurrent",
    "large": "1 image_token per minute",
}
SDKS = ("python", "node")


@dataclass(frozen=True)
class Shop:
    """A gateway of two workers before an upstream with a turnstile."""

    gateway: Running
    upstream: Upstream
    books: Books

    async def arrived(self, tenant: Tenant, least: int = 0) -> list[Record]:
        """The requests of a key in the order in which they came, once so many are over: answers come before records."""
        found: list[Record] = []

        async def are_over() -> bool:
            found[:] = [one for one in await self.books.records() if one.key == tenant.name]
            return len(found) >= least

        await eventually(are_over, told=lambda: found)
        return found


@dataclass(frozen=True)
class Sdk:
    """One of them, told to retry twice, as it does by default."""

    name: str
    shop: Shop
    script: tuple[Path, str] | None

    def tenant(self, limit: str) -> Tenant:
        return tenant(self.name, limit)

    async def draw(self, limit: str, calls: int, *, together: bool = False) -> list[dict[str, Any]]:
        """So many pictures, all at once or one after the other: of each what the SDK's user gets."""
        return await (self._node if self.script else self._python)(self.tenant(limit), calls, together)

    async def _python(self, tenant: Tenant, calls: int, together: bool) -> list[dict[str, Any]]:
        async with openai.AsyncOpenAI(
            base_url=f"{self.shop.gateway.url}/v1", api_key=tenant.secret, max_retries=2
        ) as client:

            async def one(number: int) -> dict[str, Any]:
                try:
                    headers = {MARK: f"{tenant.name}-{number}"}
                    found = await client.images.generate(**PICTURE, extra_headers=headers)
                except openai.APIStatusError as error:
                    return {
                        "error": type(error).__name__,
                        "status": error.status_code,
                        "code": error.code,
                        "type": error.type,
                    }
                return {"images": len(found.data or ())}

            if together:
                return list(await asyncio.gather(*map(one, range(calls))))
            return [await one(number) for number in range(calls)]

    async def _node(self, tenant: Tenant, calls: int, together: bool) -> list[dict[str, Any]]:
        assert self.script is not None
        binary, script = self.script
        order = "together" if together else "in turn"
        url = f"{self.shop.gateway.url}/v1"
        arguments = (script, url, tenant.secret, tenant.name, str(calls), order)
        process = await asyncio.create_subprocess_exec(
            binary, *arguments, cwd=self.shop.books.folder, stdout=asyncio.subprocess.PIPE
        )
        told, _ = await process.communicate()
        assert process.returncode == 0
        found: list[dict[str, Any]] = json.loads(told)
        return found


def tenant(sdk: str, limit: str) -> Tenant:
    return Tenant(f"{sdk}-{limit}", [LIMITS[limit]])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("sdk")
    rest = configured([tenant(sdk, limit) for sdk in SDKS for limit in LIMITS], workers=2)
    with (
        guarded_sandbox() as upstream,
        gateway_process(f"{upstream.url}/v1", folder, rest=rest) as gateway,
    ):
        yield Shop(gateway, upstream, Books(folder, upstream.url))


@pytest.fixture(scope="module")
def script(shop: Shop) -> tuple[Path, str]:
    return installed(shop.books.folder, "limits.mjs")


@pytest.fixture(params=SDKS)
def sdk(shop: Shop, request: pytest.FixtureRequest) -> Sdk:
    shop.upstream.turnstile.open()
    return Sdk(request.param, shop, request.getfixturevalue("script") if request.param == "node" else None)


def outcomes(records: list[Record]) -> Counter[Outcome]:
    return Counter(one.outcome for one in records)


async def test_a_call_beyond_a_rate_succeeds_by_the_sdks_own_retry(shop: Shop, sdk: Sdk) -> None:
    assert await sdk.draw("rate", 3, together=True) == [PASSED] * 3
    arrived = await shop.arrived(sdk.tenant("rate"), 4)
    # It came back when it had been told to, and so was let through at once.
    assert outcomes(arrived) == {Outcome.COMPLETED: 3, Outcome.REFUSED: 1}
    assert sorted(one.retry_count for one in arrived if one.outcome is Outcome.COMPLETED) == [0, 0, 1]
    assert len([mark for mark in shop.upstream.turnstile.came if mark.startswith(f"{sdk.name}-rate")]) == 3


@pytest.mark.parametrize(
    ("limit", "code", "kind"),
    [
        ("budget", "insufficient_quota", "insufficient_quota"),
        ("total", "insufficient_quota", "insufficient_quota"),
        ("hour", "rate_limit_exceeded", "rate_limit_error"),
    ],
)
async def test_where_waiting_does_not_help_a_call_arrives_once_and_fails_at_once(
    shop: Shop, sdk: Sdk, limit: str, code: str, kind: str
) -> None:
    failed = {"error": "RateLimitError", "status": 429, "code": code, "type": kind}
    assert await sdk.draw(limit, 3) == [PASSED, failed, failed]
    arrived = await shop.arrived(sdk.tenant(limit), 3)
    assert outcomes(arrived) == {Outcome.COMPLETED: 1, Outcome.REFUSED: 2}
    assert {one.retry_count for one in arrived} == {0}


async def test_a_call_larger_than_the_whole_limit_is_not_tried_again(shop: Shop, sdk: Sdk) -> None:
    (failed,) = await sdk.draw("large", 1)
    assert (failed["error"], failed["code"]) == ("RateLimitError", "insufficient_quota")
    assert outcomes(await shop.arrived(sdk.tenant("large"), 1)) == {Outcome.REFUSED: 1}


async def test_who_finds_no_place_waits_for_a_slow_call_and_then_has_it(shop: Shop, sdk: Sdk) -> None:
    shop.upstream.turnstile.shut()
    drawing = asyncio.ensure_future(sdk.draw("place", 2, together=True))

    async def is_refused() -> bool:
        return Outcome.REFUSED in outcomes(await shop.arrived(sdk.tenant("place")))

    await eventually(is_refused)
    shop.upstream.turnstile.open()
    assert await drawing == [PASSED] * 2
    arrived = await shop.arrived(sdk.tenant("place"), 3)
    assert outcomes(arrived)[Outcome.COMPLETED] == 2
    assert 1 <= outcomes(arrived)[Outcome.REFUSED] <= 2
