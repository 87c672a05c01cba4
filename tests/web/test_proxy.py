"""The public listener over real sockets: what goes up, what comes down, and what is refused."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from gateway.core.principal import Allow, Principal
from gateway.ports import Timeouts
from tests.support.gateway import KEY, LiveGateway, live_gateway, principal
from tests.support.raw import PATIENCE_S, RawUpstream, Wire, raw_client, raw_upstream, request_bytes

GENERATION = b'{"model":"gpt-image-2","prompt":"a fox"}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: req_1\r\nContent-Length: 2\r\n\r\n{}"
)
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@asynccontextmanager
async def house(**options: Any) -> AsyncIterator[tuple[Wire, RawUpstream, LiveGateway]]:
    """A client, a gateway and an upstream."""
    async with (
        raw_upstream() as upstream,
        live_gateway(upstream.base_url, **options) as gateway,
        raw_client(gateway.port) as client,
    ):
        yield client, upstream, gateway


class Answer:
    """An answer as it lay on the wire; read up to its Content-Length."""

    def __init__(self, head: bytes, body: bytes) -> None:
        line, *fields = head.decode("latin-1").split("\r\n")[:-2]
        self.status = int(line.split(" ")[1])
        self.headers = [
            (name.lower(), value.strip()) for name, _, value in (one.partition(":") for one in fields)
        ]
        self.body = body

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known == name), None)

    @property
    def error(self) -> Mapping[str, Any]:
        body: dict[str, dict[str, Any]] = orjson.loads(self.body)
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
        return body["error"]


async def read_answer(client: Wire) -> Answer:
    head = await client.read_until(b"\r\n\r\n")
    answer = Answer(head, b"")
    length = answer.header("content-length")
    assert length is not None
    answer.body = await client.read(int(length))
    return answer


async def ask(client: Wire, request: bytes) -> Answer:
    """Send a request that the gateway answers by itself."""
    await client.write(request)
    return await read_answer(client)


class TestTheWayUp:
    async def test_the_clients_bytes_go_up_as_they_came(self) -> None:
        body = b'{ "prompt" : "\xc3\xa4",\n "n": 1e0, "future": {"a": [1, 2.50]} ,"model":"gpt-image-2"}'.replace(
            b"1e0", b"1"
        )
        async with house() as (client, upstream, _):
            await client.write(request_bytes("POST", "/v1/images/generations?x=%20y&z", body))
            wire, seen = await upstream.request()
            await wire.write(ANSWER)
            assert (await read_answer(client)).body == b"{}"
            assert seen.body == body
            assert seen.target == "/v1/images/generations?x=%20y&z"
            assert seen.header("authorization") == "Bearer sk-up-default"
            assert seen.header("accept-encoding") == "identity"
            assert seen.header("content-length") == str(len(body))

    async def test_a_form_goes_up_as_it_came(self) -> None:
        body = (
            b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-image-2\r\n'
            b'--B\r\nContent-Disposition: form-data; name="image[]"; filename="a.png"\r\nX-Odd:  1\r\n\r\n\x00\xff\r\n'
            b'--B\r\nContent-Disposition: form-data; name="image[]"; filename="b.png"\r\n\r\n\r\n\r\n--B--\r\n'
        )
        async with house() as (client, upstream, _):
            headers = ("Content-Type: multipart/form-data; boundary=B",)
            await client.write(request_bytes("POST", "/v1/images/edits", body, headers=headers))
            wire, seen = await upstream.request()
            await wire.write(ANSWER)
            await read_answer(client)
            assert seen.body == body
            assert seen.header("content-type") == "multipart/form-data; boundary=B"

    async def test_a_chunked_request_gets_a_length_of_our_own(self) -> None:
        async with house() as (client, upstream, _):
            head = request_bytes(
                "POST", "/v1/images/generations", headers=("Content-Type: application/json",)
            )
            head = head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
            middle = len(GENERATION) // 2
            for piece in (GENERATION[:middle], GENERATION[middle:]):
                await client.write(head, f"{len(piece):x}\r\n".encode(), piece, b"\r\n")
                head = b""
            await client.write(b"0\r\n\r\n")
            wire, seen = await upstream.request()
            await wire.write(ANSWER)
            await read_answer(client)
            assert seen.body == GENERATION
            assert seen.header("transfer-encoding") is None

    @pytest.mark.parametrize("prefix", ["", "/v1"])
    async def test_the_routes_are_there_with_v1_and_without(self, prefix: str) -> None:
        async with house() as (client, upstream, _):
            await client.write(
                request_bytes("GET", f"{prefix}/responses/resp_1/input_items?limit=2&include[]=x")
            )
            wire, seen = await upstream.request()
            await wire.write(ANSWER)
            assert (await read_answer(client)).status == 200
            assert seen.target == "/v1/responses/resp_1/input_items?limit=2&include[]=x"
            assert seen.header("content-length") is None

    @pytest.mark.parametrize("allowed", [True, False])
    async def test_steering_goes_up_to_a_sandbox_only(self, allowed: bool) -> None:
        async with house(sandbox=allowed) as (client, upstream, _):
            headers = ("X-Sandbox: delay_ms=1", "Idempotency-Key: k", "traceparent: 00-1-2-3", "Cookie: a=b")
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION, headers=headers))
            wire, seen = await upstream.request()
            await wire.write(ANSWER)
            await read_answer(client)
            assert seen.header("x-sandbox") == ("delay_ms=1" if allowed else None)
            for dropped in ("idempotency-key", "traceparent", "cookie"):
                assert seen.header(dropped) is None

    async def test_an_expected_100_is_sent_only_once_the_key_is_known(self) -> None:
        async with house() as (client, upstream, _):
            request = request_bytes(
                "POST", "/v1/images/generations", GENERATION, headers=("Expect: 100-continue",)
            )
            head, _, body = request.partition(b"\r\n\r\n")
            await client.write(head, b"\r\n\r\n")
            assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.write(body)
            wire, _ = await upstream.request()
            await wire.write(ANSWER)
            assert (await read_answer(client)).status == 200

    async def test_an_unknown_key_is_told_before_the_body_is_sent(self) -> None:
        async with house() as (client, _, _gateway):
            head = request_bytes(
                "POST",
                "/v1/images/generations",
                GENERATION,
                key="sk-wrong",
                headers=("Expect: 100-continue",),
            )
            await client.write(head.partition(b"\r\n\r\n")[0], b"\r\n\r\n")
            assert (await read_answer(client)).status == 401


class TestTheWayDown:
    async def test_status_headers_and_body_come_down(self) -> None:
        async with house() as (client, upstream, _):
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
            wire, _ = await upstream.request()
            await wire.write(
                b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 3\r\n"
                b"X-Request-Id: req_up\r\nOpenAI-Version: 2020-10-01\r\nX-RateLimit-Limit-Tokens: 5\r\n"
                b"Set-Cookie: a=b\r\nAlt-Svc: h3\r\nOpenAI-Organization: org\r\nContent-Length: 13\r\n\r\n"
                b'{"error": {}}'
            )
            answer = await read_answer(client)
            assert (answer.status, answer.body) == (429, b'{"error": {}}')
            assert answer.header("retry-after") == "3"
            assert answer.header("x-request-id") == "req_up"
            assert answer.header("openai-version") == "2020-10-01"
            assert (answer.header("x-imagegate-id") or "").startswith("igr_")
            assert (answer.header("server-timing") or "").startswith("gateway;dur=")
            for dropped in ("set-cookie", "alt-svc", "openai-organization", "x-ratelimit-limit-tokens"):
                assert answer.header(dropped) is None

    async def test_an_answer_without_a_request_id_gets_ours(self) -> None:
        async with house() as (client, upstream, _):
            await client.write(request_bytes("GET", "/v1/models"))
            wire, _ = await upstream.request()
            await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            answer = await read_answer(client)
            assert answer.header("x-request-id") == answer.header("x-imagegate-id")

    async def test_a_stream_is_marked_so_that_nobody_holds_it(self) -> None:
        async with house() as (client, upstream, _):
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
            wire, _ = await upstream.request()
            await wire.write(STREAM.replace(b"\r\n\r\n", b"\r\nCache-Control: no-store\r\n\r\n"))
            head = Answer(await client.read_until(b"\r\n\r\n"), b"")
            assert [value for name, value in head.headers if name == "cache-control"] == [
                "no-cache, no-transform"
            ]
            assert head.header("x-accel-buffering") == "no"

    async def test_the_head_of_a_stream_comes_before_its_first_event(self) -> None:
        async with house() as (client, upstream, _):
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
            wire, _ = await upstream.request()
            await wire.write(STREAM)
            assert b"200 OK" in await client.read_until(b"\r\n\r\n")

    async def test_the_content_type_not_the_request_makes_a_stream(self) -> None:
        async with house() as (client, upstream, _):
            await client.write(
                request_bytes("POST", "/v1/images/generations", b'{"prompt":"x","stream":true}')
            )
            wire, _ = await upstream.request()
            await wire.write(ANSWER)
            assert (await read_answer(client)).header("x-accel-buffering") is None

    async def test_a_model_list_shows_only_what_is_allowed(self) -> None:
        holders = {KEY: principal(Allow(models=("gpt-image-*",)))}
        body = b'{"object":"list","data":[{"id":"gpt-image-2"},{"id":"gpt-5"}]}'
        async with house(holders=holders) as (client, upstream, _):
            await client.write(request_bytes("GET", "/v1/models"))
            wire, _ = await upstream.request()
            await wire.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body)
            answer = await read_answer(client)
            assert orjson.loads(answer.body) == {"object": "list", "data": [{"id": "gpt-image-2"}]}

    async def test_an_unnarrowed_model_list_comes_byte_for_byte(self) -> None:
        body = b'{ "object":"list", "data":[ {"id":"gpt-image-2"} ]}'
        async with house() as (client, upstream, _):
            await client.write(request_bytes("GET", "/v1/models"))
            wire, _ = await upstream.request()
            await wire.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body)
            assert (await read_answer(client)).body == body

    async def test_the_connection_serves_the_next_request(self) -> None:
        async with house() as (client, upstream, _):
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
            wire, _ = await upstream.request()
            await wire.write(ANSWER)
            assert (await read_answer(client)).status == 200
            for _ in range(3):
                await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
                await wire.read_request()
                await wire.write(ANSWER)
                assert (await read_answer(client)).status == 200
            assert upstream.connections == 1


REFUSALS = [
    pytest.param(request_bytes("GET", "/v1/chat/completions"), 404, "unknown_url", None, id="unknown path"),
    pytest.param(request_bytes("GET", "/v1/images/generations"), 404, "unknown_url", None, id="wrong method"),
    pytest.param(request_bytes("POST", "/v1/batches", b"{}"), 404, "unknown_url", None, id="batches"),
    pytest.param(request_bytes("GET", "/v1/responses/.."), 404, "unknown_url", None, id="dots"),
    pytest.param(request_bytes("GET", "/v1/files/a%2f..%2fb"), 404, "unknown_url", None, id="escaped slash"),
    pytest.param(request_bytes("GET", "/metrics"), 404, "unknown_url", None, id="the operators' paths"),
    pytest.param(
        request_bytes(
            "GET",
            "/v1/responses",
            headers=(
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: eA==",
            ),
        ),
        404,
        "unknown_url",
        None,
        id="WebSocket",
    ),
    pytest.param(
        request_bytes("GET", "/v1/models", headers=("Connection: Upgrade", "Upgrade: websocket")),
        404,
        "unknown_url",
        None,
        id="WebSocket on a known path",
    ),
    pytest.param(
        request_bytes("POST", "/v1/responses", b"{}", key=None), 401, "invalid_api_key", None, id="no key"
    ),
    pytest.param(
        request_bytes("POST", "/v1/responses", b"{}", key="sk-x"), 401, "invalid_api_key", None, id="unknown"
    ),
    pytest.param(
        request_bytes("POST", "/v1/responses", b"{}", key="sk-old"),
        401,
        "invalid_api_key",
        None,
        id="expired",
    ),
    pytest.param(
        request_bytes("GET", "/v1/models", headers=("Authorization: Bearer sk-x",)),
        400,
        "invalid_header",
        None,
        id="two keys",
    ),
    pytest.param(request_bytes("POST", "/v1/responses", b"{"), 400, "invalid_json", None, id="cut JSON"),
    pytest.param(request_bytes("POST", "/v1/responses", b"[]"), 400, "invalid_json", None, id="no object"),
    pytest.param(
        request_bytes("POST", "/v1/responses", b'{"model":"a","model":"b"}'),
        400,
        "duplicate_field",
        "model",
        id="twice",
    ),
    pytest.param(
        request_bytes("POST", "/v1/images/generations", b'{"n":"2"}'),
        400,
        "invalid_type",
        "n",
        id="wrong type",
    ),
    pytest.param(
        request_bytes(
            "POST",
            "/v1/images/generations",
            b"n=2",
            headers=("Content-Type: application/x-www-form-urlencoded",),
        ),
        400,
        "invalid_json",
        None,
        id="form on a JSON route",
    ),
    pytest.param(
        request_bytes("POST", "/v1/images/edits", b"x", headers=("Content-Type: text/plain",)),
        400,
        "invalid_multipart",
        None,
        id="text on a form route",
    ),
    pytest.param(
        request_bytes("POST", "/v1/images/edits", b"x", headers=("Content-Type: multipart/form-data",)),
        400,
        "invalid_multipart",
        None,
        id="no boundary",
    ),
    pytest.param(
        request_bytes("POST", "/v1/images/variations", b"{}"),
        400,
        "invalid_multipart",
        None,
        id="JSON on a form route",
    ),
    pytest.param(
        request_bytes(
            "POST",
            "/v1/images/generations",
            '{"n":1}'.encode("utf-16"),
            headers=("Content-Type: application/json; charset=utf-16",),
        ),
        400,
        "invalid_json",
        None,
        id="UTF-16",
    ),
    pytest.param(
        request_bytes("POST", "/v1/images/generations", b" " * 3000),
        413,
        "request_too_large",
        None,
        id="too large",
    ),
    pytest.param(
        request_bytes(
            "POST", "/v1/files", b" " * 3000, headers=("Content-Type: multipart/form-data; boundary=B",)
        ),
        413,
        "request_too_large",
        None,
        id="a file too large",
    ),
    pytest.param(
        request_bytes("POST", "/v1/images/generations", b'{"model":"dall-e-3"}', key="sk-narrow"),
        403,
        "not_allowed",
        "model",
        id="model",
    ),
    pytest.param(
        request_bytes("POST", "/v1/images/generations", b"{}", key="sk-narrow"),
        403,
        "not_allowed",
        "model",
        id="default",
    ),
    pytest.param(
        request_bytes(
            "POST",
            "/v1/responses",
            b'{"model":"gpt-5","tools":[{"type":"image_generation"}]}',
            key="sk-narrow",
        ),
        403,
        "not_allowed",
        "tools[0].model",
        id="tool model",
    ),
    pytest.param(
        request_bytes("POST", "/v1/responses", b'{"tools":[{"type":"web_search"}]}'),
        403,
        "not_allowed",
        "tools[0].type",
        id="hosted tool",
    ),
    pytest.param(request_bytes("GET", "/v1/files", key="sk-narrow"), 403, "not_allowed", "route", id="route"),
    pytest.param(
        request_bytes("GET", "/v1/models/dall-e-3", key="sk-narrow"),
        403,
        "not_allowed",
        "model",
        id="model by id",
    ),
]
HOLDERS: Mapping[str, Principal] = {
    KEY: principal(),
    "sk-old": principal(expires_at=1.0),
    "sk-narrow": principal(
        Allow(models=("gpt-image-2", "gpt-5"), routes=("images.*", "responses.*", "models.*"))
    ),
}


@pytest.mark.parametrize(("request_", "status", "code", "param"), REFUSALS)
async def test_a_bad_request_is_refused_in_openais_shape_and_reaches_nobody(
    request_: bytes, status: int, code: str, param: str | None
) -> None:
    async with house(holders=HOLDERS, max_body_bytes=2000) as (client, upstream, gateway):
        answer = await ask(client, request_)
        assert (answer.status, answer.error["code"], answer.error["param"]) == (status, code, param)
        assert answer.header("x-should-retry") == "false"
        assert answer.header("content-type") == "application/json"
        assert answer.header("x-request-id") == answer.header("x-imagegate-id")
        assert answer.header("date") is not None
        assert upstream.connections == 0
        async with raw_client(gateway.port) as other:
            assert (await ask(other, request_bytes("GET", "/livez"))).status == 200


class TestEndings:
    @pytest.mark.parametrize("cut", ["close", "reset"])
    async def test_a_stream_that_breaks_upstream_is_cut_for_the_client(self, cut: str) -> None:
        async with house() as (client, upstream, _):
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
            wire, _ = await upstream.request()
            await wire.write(STREAM, b"5\r\nevent\r\n")
            await client.read_until(b"event\r\n")
            if cut == "close":
                await wire.close()
            else:
                wire.reset()
            assert await client.read_all() == b"", "no final chunk: the SDK must notice"

    async def test_a_plain_body_that_breaks_upstream_is_short_for_the_client(self) -> None:
        async with house() as (client, upstream, _):
            await client.write(request_bytes("GET", "/v1/files/file-1/content"))
            wire, _ = await upstream.request()
            await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await client.read_until(b"half")
            await wire.close()
            assert await client.read_all() == b""

    async def test_one_whose_head_is_held_for_its_cost_is_a_502_instead(self) -> None:
        async with house() as (client, upstream, gateway):
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
            wire, _ = await upstream.request()
            await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await wire.close()
            answer = await read_answer(client)
            assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")
            assert answer.header("x-should-retry") == "false"
            assert answer.header("x-imagegate-cost-usd") is None
            await client.write(request_bytes("GET", "/livez"))
            assert (await read_answer(client)).status == 200, "and the connection serves on"
            assert [record.outcome.value for record in gateway.records] == ["upstream_cut"]

    async def test_a_clean_end_is_a_clean_end(self) -> None:
        async with house() as (client, upstream, _):
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
            wire, _ = await upstream.request()
            await wire.write(STREAM, b"5\r\nevent\r\n0\r\n\r\n")
            await client.read_until(b"event\r\n")
            assert await client.read(5) == b"0\r\n\r\n"

    @pytest.mark.parametrize("phase", ["waiting for the head", "between events", "inside an event"])
    async def test_a_client_that_leaves_frees_the_upstream_connection(self, phase: str) -> None:
        async with house() as (client, upstream, gateway):
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
            wire, _ = await upstream.request()
            if phase != "waiting for the head":
                await wire.write(STREAM, b"5\r\nevent\r\n")
                await client.read_until(b"event\r\n")
            if phase == "inside an event":
                await wire.write(b"ff\r\nhalf")
                await client.read_until(b"half")
            client.reset()
            await wire.wait_closed_by_peer()
            async with raw_client(gateway.port) as other:
                assert (await ask(other, request_bytes("GET", "/readyz"))).status == 200

    async def test_a_client_that_leaves_while_sending_never_reaches_the_upstream(self) -> None:
        async with house() as (client, upstream, gateway):
            request = request_bytes("POST", "/v1/images/generations", GENERATION)
            await client.write(request[:-5])
            client.reset()
            await gateway.all_closed()
            assert upstream.connections == 0

    async def test_an_unreachable_upstream_is_a_502_that_may_be_retried(self) -> None:
        async with raw_upstream() as gone:
            base_url = gone.base_url
        async with live_gateway(base_url) as gateway, raw_client(gateway.port) as client:
            answer = await ask(client, request_bytes("POST", "/v1/images/generations", GENERATION))
            assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")
            assert answer.header("x-should-retry") == "true"

    async def test_an_upstream_that_hangs_up_may_have_done_the_work(self) -> None:
        async with house() as (client, upstream, _):
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
            wire, _ = await upstream.request()
            await wire.close()
            answer = await read_answer(client)
            assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")
            assert answer.header("x-should-retry") == "false"
            assert upstream.connections == 1

    async def test_a_silent_upstream_is_a_504_and_is_left(self) -> None:
        async with house(timeouts=Timeouts(connect_s=PATIENCE_S, read_s=0.05)) as (client, upstream, _):
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
            wire, _ = await upstream.request()
            answer = await read_answer(client)
            assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
            assert answer.header("x-should-retry") == "false"
            await wire.wait_closed_by_peer()

    async def test_a_slow_reader_holds_the_upstream_back(self) -> None:
        async with house() as (client, upstream, _):
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
            wire, _ = await upstream.request()
            size = 512 << 20
            client.pause()
            await wire.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
            assert await wire.write_until_blocked(size) < size / 4

    @pytest.mark.parametrize("status", [204, 304])
    async def test_an_answer_without_a_body_promises_none(self, status: int) -> None:
        """It may tell the length that a body would have had (RFC 9110 §8.6)."""
        async with house() as (client, upstream, _):
            for _ in range(2):
                await client.write(request_bytes("GET", "/v1/models"))
                wire, _ = await upstream.request()
                await wire.write(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\nConnection: close\r\n\r\n" % status)
                head = await client.read_until(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 %d " % status)
                assert b"content-length" not in head


class TestSeveralCredentials:
    TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}"

    async def test_a_429_is_tried_once_with_another_credential(self) -> None:
        async with house(credentials=("a", "b", "c")) as (client, upstream, _):
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
            wire, first = await upstream.request()
            await wire.write(self.TOO_MANY)
            wire, second = await upstream.request()
            await wire.write(ANSWER)
            assert (await read_answer(client)).status == 200
            assert first.header("authorization") != second.header("authorization")
            assert first.body == second.body

    async def test_the_second_429_is_the_clients(self) -> None:
        async with house(credentials=("a", "b", "c")) as (client, upstream, _):
            await client.write(request_bytes("POST", "/v1/images/generations", GENERATION))
            for _ in range(2):
                wire, _ = await upstream.request()
                await wire.write(self.TOO_MANY)
            assert (await read_answer(client)).status == 429

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/responses", b'{"model":"gpt-5","input":"x"}'),
            ("/v1/images/edits", b'{"images":[{"file_id":"f"}]}'),
        ],
    )
    async def test_what_is_tied_to_its_credential_stays_with_it(self, path: str, body: bytes) -> None:
        async with house(credentials=("a", "b")) as (client, upstream, _):
            await client.write(request_bytes("POST", path, body))
            wire, _ = await upstream.request()
            await wire.write(self.TOO_MANY)
            assert (await read_answer(client)).status == 429
            assert upstream.connections == 1


async def test_health_needs_no_key() -> None:
    async with house() as (client, _, _gateway):
        for path in ("/livez", "/readyz"):
            answer = await ask(client, request_bytes("GET", path, key=None))
            assert answer.status == 200
            await client.write(request_bytes("HEAD", path, key=None))
            assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
