"""
Bytes in, bytes out: what a client may put on the wire, and what it gets for it.

Each case is sent to a real `imagegate serve`. The upstream behind it writes down what it sees: of a refused request
nothing, of the others the bytes that were sent. After each case the connection is where the last answer says it is,
and the next request is answered.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from tests.support.answers import read_answer
from tests.support.process import KEY, Running, gateway_process
from tests.support.raw import RawUpstream, Wire, raw_client, raw_upstream, request_bytes

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

AUTH = f"Authorization: Bearer {KEY}"
JSON = "Content-Type: application/json"
RESPONSES = "POST /v1/responses HTTP/1.1"
MODELS = "GET /v1/models HTTP/1.1"
UP_MODELS = ("GET", "/v1/models", b"")
BODY = b'{"model":"gpt-5"}'
UP_BODY = ("POST", "/v1/responses", BODY)
HEALTHY = request_bytes("GET", "/v1/files", key=KEY)
OK = (200, None)

Said = tuple[int, str | None]
"""Status and error code of an answer."""
Seen = tuple[str, str, bytes]
"""Method, target and body of a request as the upstream saw it."""


@dataclass
class Scene:
    """The gateway's process, and what arrived behind it."""

    gateway: Running
    seen: list[Seen] = field(default_factory=list)

    async def check_healthy(self) -> None:
        """A good request is answered, and is the only thing the upstream sees besides what it was to see."""
        async with raw_client(self.gateway.port) as client:
            await client.write(HEALTHY)
            assert (await read_answer(client)).body == b"{}"
        assert self.seen.pop() == ("GET", "/v1/files", b"")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    rest = "[server]\nmax_body_bytes = 20000000\n"
    async with raw_upstream() as upstream:
        with gateway_process(upstream.base_url, tmp_path_factory.mktemp("wire"), rest=rest) as gateway:
            scene = Scene(gateway)
            serving = asyncio.create_task(serve(upstream, scene))
            yield scene
            serving.cancel()


@pytest.fixture
def scene(stage: Scene) -> Scene:
    stage.seen.clear()
    return stage


async def serve(upstream: RawUpstream, scene: Scene) -> None:
    """Answer everything with 200 and `{}`."""
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(serve_one(await upstream.arrivals.get(), scene))


async def serve_one(wire: Wire, scene: Scene) -> None:
    while True:
        try:
            request = await wire.read_request()
        except (EOFError, ConnectionError, TimeoutError):
            return
        scene.seen.append((request.method, request.target, request.body))
        await wire.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(body: bytes, *fields: str, path: str = "/v1/responses") -> bytes:
    return request_bytes("POST", path, body, key=KEY, headers=fields)


def get(*fields: str, target: str = "/v1/models") -> bytes:
    return head(f"GET {target} HTTP/1.1", "Host: gateway", AUTH, *fields)


def framed(*fields: str, body: bytes = BODY) -> bytes:
    """A POST with a framing of the test's own."""
    return head(RESPONSES, "Host: gateway", AUTH, JSON, *fields) + body


def chunked(body: bytes) -> bytes:
    return framed("Transfer-Encoding: chunked", body=body)


def form(*parts: bytes, end: bytes = b"--B--\r\n", boundary: str = "B") -> bytes:
    body = b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + end
    return post(body, f"Content-Type: multipart/form-data; boundary={boundary}", path="/v1/images/edits")


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b'Content-Disposition: form-data; name="' + name + b'"' + more + b"\r\n\r\n" + value


HEADER = (400, "invalid_header")
HOST = (400, "invalid_host")
BAD_JSON = (400, "invalid_json")
BAD_FORM = (400, "invalid_multipart")
TWICE = (400, "duplicate_field")
UNKNOWN = (404, "unknown_url")
LARGE = (431, "headers_too_large")
LENGTH = f"Content-Length: {len(BODY)}"

FRAMING = [
    pytest.param(framed(LENGTH, "Transfer-Encoding: chunked"), HEADER, id="length and chunked"),
    pytest.param(framed("Transfer-Encoding: chunked", LENGTH), HEADER, id="chunked and length"),
    pytest.param(framed(LENGTH, LENGTH), HEADER, id="two equal lengths"),
    pytest.param(framed(LENGTH, "Content-Length: 3"), HEADER, id="two lengths"),
    pytest.param(framed("Content-Length: 17, 17"), HEADER, id="a list of lengths"),
    pytest.param(framed("Content-Length: +17"), HEADER, id="a length with a plus"),
    pytest.param(framed("Content-Length: 0x11"), HEADER, id="a length in hex"),
    pytest.param(framed("Content-Length: -1"), HEADER, id="a negative length"),
    pytest.param(framed("Content-Length: 1 7"), HEADER, id="a length with a blank"),
    pytest.param(framed("Content-Length:"), HEADER, id="an empty length"),
    pytest.param(framed("Content-Length: 99999999999999999999"), HEADER, id="a length beyond 64 bits"),
    pytest.param(framed("Content-Length: 999999999999"), (413, "request_too_large"), id="a huge length"),
    pytest.param(framed("Content-Length : 17"), HEADER, id="a blank before the colon"),
    pytest.param(framed("Transfer-Encoding: xchunked"), HEADER, id="xchunked"),
    pytest.param(framed("Transfer-Encoding: chunked, identity"), HEADER, id="chunked, identity"),
    pytest.param(framed("Transfer-Encoding: identity"), HEADER, id="identity"),
    pytest.param(framed("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), HEADER, id="gzip, chunked"),
    pytest.param(
        framed("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        HEADER,
        id="chunked twice",
    ),
    pytest.param(framed("Transfer-Encoding : chunked", body=b"0\r\n\r\n"), HEADER, id="chunked with a blank"),
    pytest.param(
        framed("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), HEADER, id="chunked behind a tab"
    ),
    pytest.param(
        framed("Transfer-Encoding:", " chunked", body=b"0\r\n\r\n"), HEADER, id="chunked on the next line"
    ),
    pytest.param(chunked(b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"), HEADER, id="chunked with HTTP/1.0"),
    pytest.param(chunked(b"g\r\n"), HEADER, id="a chunk size that is no number"),
    pytest.param(chunked(b"0x11\r\n" + BODY + b"\r\n0\r\n\r\n"), HEADER, id="a chunk size with 0x"),
    pytest.param(chunked(b"-1\r\n"), HEADER, id="a negative chunk size"),
    pytest.param(chunked(b"fffffffffffffffff\r\n"), HEADER, id="a chunk size beyond 64 bits"),
    pytest.param(chunked(b"11\r\n" + BODY + b"xx0\r\n\r\n"), HEADER, id="no line end behind a chunk"),
    pytest.param(chunked(b"11\n" + BODY + b"\n0\n\n"), HEADER, id="chunks with LF only"),
    pytest.param(chunked(b"11 \r\n" + BODY + b"\r\n0\r\n\r\n"), HEADER, id="a blank behind a chunk size"),
    pytest.param(chunked(b"11;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n"), HEADER, id="LF in a chunk extension"),
    pytest.param(chunked(b"11;a=" + b"x" * 1_000_000), LARGE, id="a huge chunk extension"),
    pytest.param(chunked(b"0\r\nX-Trailer: " + b"x" * 1_000_000), LARGE, id="a huge trailer"),
    pytest.param(chunked(b"0\r\n" + b"X-T: x\r\n" * 100_000), LARGE, id="many trailers"),
    pytest.param(framed(LENGTH).replace(b"\r\n", b"\n"), HEADER, id="LF line ends"),
    pytest.param(get("X-Folded: a", " b"), HEADER, id="a folded line"),
    pytest.param(get("X-Nul: a\0b"), HEADER, id="NUL in a value"),
    pytest.param(get("X-N\0l: a"), HEADER, id="NUL in a name"),
    pytest.param(get("X-Cr: a\rb"), HEADER, id="bare CR in a value"),
    pytest.param(get("X-Ctl: a\x01b"), HEADER, id="a control character in a value"),
    pytest.param(get("no colon"), HEADER, id="a line without a colon"),
    pytest.param(get(": x"), HEADER, id="an empty name"),
    pytest.param(get("X Y: x"), HEADER, id="a blank in a name"),
    pytest.param(head(MODELS, " Host: gateway", AUTH), HEADER, id="a blank before the first name"),
]

HEADS = [
    pytest.param(get("X-Big: " + "x" * 1_000_000), LARGE, id="a header of 1 MB"),
    pytest.param(get("X-Big: " + "x" * 66_000), LARGE, id="a header of 66 kB"),
    pytest.param(get(*["X: y"] * 10_000), LARGE, id="10 000 headers"),
    pytest.param(get(*["X: y"] * 99), LARGE, id="101 headers"),
    pytest.param(get(target="/v1/models?" + "x" * 200_000), LARGE, id="a URL of 200 kB"),
    pytest.param(head(MODELS, AUTH), HOST, id="no Host"),
    pytest.param(head("GET /v1/models HTTP/1.0", AUTH), HOST, id="no Host with HTTP/1.0"),
    pytest.param(get("Host: gateway"), HOST, id="two Hosts"),
    pytest.param(head(MODELS, "Host:", AUTH), HOST, id="an empty Host"),
    pytest.param(head(MODELS, "Host: a b", AUTH), HOST, id="a Host with a blank"),
    pytest.param(head(MODELS, "Host: a, b", AUTH), HOST, id="a list of Hosts"),
    pytest.param(head(MODELS, "Host: user@gateway", AUTH), HOST, id="a Host with a user"),
    pytest.param(head(MODELS, "Host: gateway/x", AUTH), HOST, id="a Host with a path"),
    pytest.param(head(MODELS, "Host: gateway:port", AUTH), HOST, id="a Host with a port that is none"),
    pytest.param(b"GET /v1/models\r\n\r\n", HEADER, id="HTTP/0.9"),
    pytest.param(get().replace(b"HTTP/1.1", b"HTTP/0.9"), HEADER, id="HTTP/0.9, said"),
    pytest.param(get().replace(b"HTTP/1.1", b"HTTP/2.0"), HEADER, id="HTTP/2.0, said"),
    pytest.param(get().replace(b"HTTP/1.1", b"HTTP/1.2"), HEADER, id="HTTP/1.2"),
    pytest.param(get().replace(b"HTTP/1.1", b"HTTP/11"), HEADER, id="HTTP/11"),
    pytest.param(get().replace(b"HTTP/1.1", b"http/1.1"), HEADER, id="http in lower case"),
    pytest.param(get().replace(b"HTTP/1.1", b"ICE/1.1"), HEADER, id="another protocol"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), HEADER, id="the preface of HTTP/2"),
    pytest.param(get().replace(b"GET", b"FETCH"), HEADER, id="an unknown method"),
    pytest.param(get().replace(b"GET", b"get"), HEADER, id="a method in lower case"),
    pytest.param(get().replace(b"HTTP/1.1", b"HTTP/1.1 "), HEADER, id="a blank behind the version"),
    pytest.param(get().replace(b"GET ", b" GET "), HEADER, id="a blank before the method"),
    pytest.param(get().replace(b"GET", b"PATCH"), UNKNOWN, id="a method that no route has"),
    pytest.param(get().replace(b"GET", b"OPTIONS"), UNKNOWN, id="OPTIONS"),
    pytest.param(get().replace(b"GET", b"TRACE"), UNKNOWN, id="TRACE"),
    pytest.param(head("OPTIONS * HTTP/1.1", "Host: gateway", AUTH), UNKNOWN, id="the * target"),
    pytest.param(head("CONNECT gateway:443 HTTP/1.1", "Host: gateway:443", AUTH), HEADER, id="CONNECT"),
    pytest.param(get(target="gateway:443"), HEADER, id="an authority as target"),
    pytest.param(get(target="v1/models"), HEADER, id="a target without a slash"),
    pytest.param(get(target="/v1/models#x"), HEADER, id="a fragment"),
    pytest.param(get(target="/v1/models\xff"), HEADER, id="a byte beyond ASCII in the path"),
    pytest.param(get(target="/v1/models?\xff"), HEADER, id="a byte beyond ASCII in the query"),
    pytest.param(get(target="/v1/models?\x7f"), HEADER, id="DEL in the query"),
    pytest.param(get(target="/v1/models?\t"), HEADER, id="a tab in the query"),
    pytest.param(get(target="http://gateway"), HEADER, id="an absolute target without a path"),
    pytest.param(get(target="http://elsewhere/v1/models"), HOST, id="an absolute target elsewhere"),
    pytest.param(get(target="http://user@gateway/v1/models"), HOST, id="an absolute target with a user"),
    pytest.param(get(target="ftp://gateway/v1/models"), HOST, id="an absolute target of another scheme"),
    pytest.param(get(target="//gateway/v1/models"), UNKNOWN, id="a target with two slashes"),
    pytest.param(get(target="/v1//models"), UNKNOWN, id="two slashes within"),
    pytest.param(get(target="/v1/models/"), UNKNOWN, id="a slash at the end"),
    pytest.param(get(target="/v1/x/../models"), UNKNOWN, id="dots"),
    pytest.param(get(target="/v1/models/%2e%2e"), UNKNOWN, id="dots as an id"),
    pytest.param(get(target="/v1/models/."), UNKNOWN, id="a dot as an id"),
    pytest.param(get(target="/v1/files/a%00b"), UNKNOWN, id="NUL in an id"),
    pytest.param(get(target="/v1/files/a%0d%0aX:%20y"), UNKNOWN, id="a line end in an id"),
    pytest.param(get(target="/v1/files/a%3fb"), UNKNOWN, id="a question mark in an id"),
    pytest.param(get(target="/v1/files/%ff"), UNKNOWN, id="no UTF-8 in an id"),
    pytest.param(get(target="/v1/files/%zz"), UNKNOWN, id="a broken escape in an id"),
    pytest.param(get(target="/v1/files/" + "a" * 257), UNKNOWN, id="a long id"),
    pytest.param(get(target="/V1/models"), UNKNOWN, id="another case"),
    pytest.param(get("X_Forwarded_For: ::1"), HEADER, id="an underscore"),
    pytest.param(get("Content_Length: 5"), HEADER, id="Content_Length"),
    pytest.param(post(BODY, "Content-Encoding: gzip"), (415, "unsupported_content_encoding"), id="gzip"),
    pytest.param(post(BODY, "Content-Encoding: identity"), (415, "unsupported_content_encoding"), id="plain"),
    pytest.param(get(AUTH), HEADER, id="the key twice"),
    pytest.param(get("Authorization: Bearer sk-other"), HEADER, id="two keys"),
    pytest.param(post(BODY, JSON, JSON), HEADER, id="two content types"),
    pytest.param(post(BODY, "Expect: miracles"), HEADER, id="an unknown expectation"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506), HEADER, id="TLS ClientHello"),
    pytest.param(b"\0" * 100, HEADER, id="zeros"),
    pytest.param(b"\xff\xfe{}\r\n\r\n", HEADER, id="garbage"),
    pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", HEADER, id="SSH"),
    pytest.param(b'{"model":"gpt-5"}\r\n\r\n', HEADER, id="a body without a head"),
]

BODIES = [
    pytest.param(post(b""), BAD_JSON, id="no content type"),
    pytest.param(post(b"", JSON), BAD_JSON, id="an empty body"),
    pytest.param(post(b"null"), BAD_JSON, id="null"),
    pytest.param(post(b"{}{}"), BAD_JSON, id="two values"),
    pytest.param(post(b"{'a':1}"), BAD_JSON, id="single quotes"),
    pytest.param(post(b'{"a":1,}'), BAD_JSON, id="a comma at the end"),
    pytest.param(post(b'{"a":1/*x*/}'), BAD_JSON, id="a comment"),
    pytest.param(post(b'{"a":NaN}'), BAD_JSON, id="NaN"),
    pytest.param(post(b'{"a":-Infinity}'), BAD_JSON, id="Infinity"),
    pytest.param(post(b'{"a":01}'), BAD_JSON, id="a leading zero"),
    pytest.param(post(b'{"a":"\n"}'), BAD_JSON, id="a line end in a string"),
    pytest.param(post(b'{"a":"\xff"}'), BAD_JSON, id="no UTF-8"),
    pytest.param(post(b'{"a":"\xed\xa0\x80"}'), BAD_JSON, id="a surrogate in UTF-8"),
    pytest.param(post(b"\xef\xbb\xbf{}"), BAD_JSON, id="a byte order mark"),
    pytest.param(post('{"a":1}'.encode("utf-16")), BAD_JSON, id="UTF-16"),
    pytest.param(post(b'{"a":' * 5000 + b"1" + b"}" * 5000), BAD_JSON, id="deep objects"),
    pytest.param(post(b'{"a":' + b"[" * 1_000_000), BAD_JSON, id="very deep arrays"),
    pytest.param(post(b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"), BAD_JSON, id="200 levels"),
    pytest.param(post(b'{"a":' + b"9" * 5000 + b"}"), BAD_JSON, id="an integer of 5000 digits"),
    pytest.param(post(b'{"model":"a","model":"a"}'), TWICE, id="a key twice"),
    pytest.param(post(b'{"model":"a","mod\\u0065l":"b"}'), TWICE, id="a key twice, escaped"),
    pytest.param(post(b'{"x":[{"y":{"z":1,"z":2}}]}'), TWICE, id="a key twice, deep"),
    pytest.param(post(b'{"\\ud800":1,"\\ud800":2}'), TWICE, id="a lone surrogate as a key, twice"),
    pytest.param(post(b'{"model":5}'), (400, "invalid_type"), id="a model that is a number"),
    pytest.param(post(b'{"tools":{}}'), (400, "invalid_type"), id="tools that are no list"),
    pytest.param(
        post(b'{"model":"\\udc00\\u0000"}'), (403, "not_allowed"), id="a model that is a lone surrogate"
    ),
    pytest.param(form(end=b""), BAD_FORM, id="an empty form"),
    pytest.param(form(part(b"model", b"m"), end=b""), BAD_FORM, id="a form without an end"),
    pytest.param(form(part(b"model", b"m"), end=b"--B--\r\nmore"), BAD_FORM, id="bytes behind the end"),
    pytest.param(form(part(b"model", b"m"), boundary="C"), BAD_FORM, id="another boundary"),
    pytest.param(form(part(b"model", b"m"), boundary=""), BAD_FORM, id="an empty boundary"),
    pytest.param(form(part(b"a", b"1"), boundary="B; boundary=C"), BAD_FORM, id="two boundaries"),
    pytest.param(form(b"\r\nm"), BAD_FORM, id="a part without a name"),
    pytest.param(
        form(b'Content-Disposition: attachment; name="model"\r\n\r\nm'), BAD_FORM, id="no form-data"
    ),
    pytest.param(form(part(b"model", b"m", b'; name="n"')), BAD_FORM, id="a name said twice"),
    pytest.param(form(part(b"model", b"m", b"; name*=UTF-8''n")), BAD_FORM, id="a name said in two ways"),
    pytest.param(form(part(b"model", b"m", b'; filename="x"')), BAD_FORM, id="a model that is a file"),
    pytest.param(form(part(b"model[]", b"m")), BAD_FORM, id="a model in brackets"),
    pytest.param(form(part(b"model", b"\xff")), BAD_FORM, id="a model that is not UTF-8"),
    pytest.param(form(part(b"model", b"m" * 5000)), BAD_FORM, id="a long model"),
    pytest.param(form(part(b"model", b"a"), part(b"model", b"b")), TWICE, id="a field twice"),
    pytest.param(form(part(b"prompt", b"a"), part(b"prompt", b"b")), TWICE, id="a prompt twice"),
    pytest.param(form(part(b"n", b"two")), (400, "invalid_type"), id="a number that is none"),
    pytest.param(form(*[part(b"x%d" % n, b"") for n in range(300)]), BAD_FORM, id="300 parts"),
    pytest.param(
        form(b"Content-Disposition form-data\r\n\r\nm"), BAD_FORM, id="a part's head without a colon"
    ),
]


@pytest.mark.parametrize(("raw", "said"), [*FRAMING, *HEADS, *BODIES])
async def test_what_could_be_read_in_two_ways_is_refused_and_reaches_nobody(
    scene: Scene, raw: bytes, said: Said
) -> None:
    await play(scene, raw, [said])
    await scene.check_healthy()
    assert scene.seen == []


GOOD = get()
PASSED = [
    pytest.param(GOOD, UP_MODELS, id="a plain GET"),
    pytest.param(framed(LENGTH), UP_BODY, id="a plain POST"),
    pytest.param(b"\r\n\r\n" + GOOD, UP_MODELS, id="empty lines before the request"),
    # RFC 9112 §3 leaves this to the server, and the parser does not tell.
    pytest.param(GOOD.replace(b"GET ", b"GET  "), UP_MODELS, id="two blanks before the target"),
    pytest.param(GOOD.replace(b" HTTP/", b"  HTTP/"), UP_MODELS, id="two blanks before the version"),
    pytest.param(GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"), UP_MODELS, id="HTTP/1.0"),
    pytest.param(head(MODELS, "Host: [::1]:80", AUTH), UP_MODELS, id="an IPv6 Host"),
    pytest.param(head(MODELS, "hOST:gateway", AUTH.lower()), UP_MODELS, id="names in any case"),
    pytest.param(get(target="http://gateway/v1/models"), UP_MODELS, id="an absolute target"),
    pytest.param(get(target="HTTP://GATEWAY/v1/models"), UP_MODELS, id="an absolute target in capitals"),
    pytest.param(get(target="/v1/%6dodels"), UP_MODELS, id="an escaped letter"),
    pytest.param(get(*["X: y"] * 98), UP_MODELS, id="100 headers"),
    pytest.param(get("X-Big: " + "x" * 60_000), UP_MODELS, id="a header of 60 kB"),
    pytest.param(get("X-Obs: \xe4"), UP_MODELS, id="a byte beyond ASCII in a value"),
    pytest.param(
        get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"), UP_MODELS, id="an upgrade declined"
    ),
    pytest.param(get("Expect: 100-continue"), UP_MODELS, id="an expectation without a body"),
    pytest.param(
        chunked(b"5;a=b\r\n" + BODY[:5] + b"\r\n00c\r\n" + BODY[5:] + b"\r\n0\r\nX-T: y\r\n\r\n"),
        UP_BODY,
        id="chunks with an extension, zeros and a trailer",
    ),
    pytest.param(framed("Content-Length: 0017"), UP_BODY, id="a length with zeros"),
    pytest.param(
        post(b'{"input":"\\ud800"}'),
        ("POST", "/v1/responses", b'{"input":"\\ud800"}'),
        id="a lone surrogate",
    ),
    pytest.param(
        post(b'{"seed":1e999,"x":123456789012345678901234567890}'),
        ("POST", "/v1/responses", b'{"seed":1e999,"x":123456789012345678901234567890}'),
        id="huge numbers",
    ),
    pytest.param(
        post(b' {"a" :"\xf0\x9f\xa6\x8a"}\n'),
        ("POST", "/v1/responses", b' {"a" :"\xf0\x9f\xa6\x8a"}\n'),
        id="blanks and a fox",
    ),
    pytest.param(
        form(part(b"image[]", b"a"), part(b"image[]", b"b")),
        (
            "POST",
            "/v1/images/edits",
            form(part(b"image[]", b"a"), part(b"image[]", b"b")).partition(b"\r\n\r\n")[2],
        ),
        id="several images",
    ),
]


@pytest.mark.parametrize(("raw", "seen"), PASSED)
async def test_what_is_unusual_but_clear_goes_up(scene: Scene, raw: bytes, seen: Seen) -> None:
    await play(scene, raw, [OK])
    await scene.check_healthy()
    assert scene.seen == [seen]


BAD = head("GET /v1/models HTTP/1.1", "Host: gateway", AUTH, "X_Y: z")
PIPELINED = [
    pytest.param(GOOD + framed(LENGTH), [OK, OK], [UP_MODELS, UP_BODY], id="two good ones"),
    pytest.param(GOOD * 10, [OK] * 10, [UP_MODELS] * 10, id="ten good ones"),
    pytest.param(GOOD + BAD, [OK, HEADER], [UP_MODELS], id="good, then bad"),
    pytest.param(BAD + GOOD, [HEADER], [], id="bad, then good"),
    pytest.param(GOOD + b"\0garbage", [OK, HEADER], [UP_MODELS], id="good, then garbage"),
    pytest.param(GOOD + GOOD + BAD + GOOD, [OK, OK, HEADER], [UP_MODELS] * 2, id="two good, bad, good"),
    pytest.param(
        GOOD + chunked(b"5\r\n{....\r\nx"), [OK, HEADER], [UP_MODELS], id="good, then one with a bad body"
    ),
    pytest.param(
        get("Connection: close") + GOOD, [OK], [UP_MODELS], id="what follows a close is not a request"
    ),
    pytest.param(
        get("Connection: Upgrade", "Upgrade: h2c") + GOOD, [OK], [UP_MODELS], id="nor what follows an upgrade"
    ),
    pytest.param(
        GOOD * 30,
        [*[OK] * 17, (503, "overloaded")],
        [UP_MODELS] * 17,
        id="more than may wait",
    ),
    pytest.param(
        request_bytes("POST", "/v1/responses", BODY, key="sk-no") + GOOD,
        [(401, "invalid_api_key"), OK],
        [UP_MODELS],
        id="a body nobody read is not a request",
    ),
    pytest.param(
        request_bytes("POST", "/v1/responses", GOOD, key="sk-no"),
        [(401, "invalid_api_key")],
        [],
        id="nor is one that looks like it",
    ),
    pytest.param(post(b"{") + GOOD, [BAD_JSON, OK], [UP_MODELS], id="a bad body, then a good request"),
]


@pytest.mark.parametrize(("raw", "said", "seen"), PIPELINED)
async def test_pipelined_requests_are_answered_in_order_and_spoil_nothing(
    scene: Scene, raw: bytes, said: Sequence[Said], seen: Sequence[Seen]
) -> None:
    await play(scene, raw, said)
    await scene.check_healthy()
    assert scene.seen == seen


@pytest.mark.parametrize(
    "raw", [framed(LENGTH), chunked(b"5\r\n" + BODY[:5] + b"\r\nc\r\n" + BODY[5:] + b"\r\n0\r\n\r\n")]
)
async def test_a_request_may_come_byte_by_byte(scene: Scene, raw: bytes) -> None:
    async with raw_client(scene.gateway.port) as client:
        for at in range(len(raw)):
            await client.write(raw[at : at + 1])
        assert (await read_answer(client)).status == 200
    await scene.check_healthy()
    assert scene.seen == [UP_BODY]


async def play(scene: Scene, raw: bytes, said: Sequence[Said]) -> None:
    """Send, read the answers, and see that the connection is where the last one says it is."""
    async with raw_client(scene.gateway.port) as client:
        client.writer.write(raw)
        answers = [await read_answer(client) for _ in said]
        assert [(answer.status, answer.code) for answer in answers] == list(said)
        assert all(answer.whole for answer in answers)
        assert not any(answer.closes for answer in answers[:-1])
        if not answers[-1].closes:
            await client.write(request_bytes("GET", "/livez"))
            assert (await read_answer(client)).body == b'{"status":"ok"}'
            return
        assert await client.read_all() == b"", "nothing comes behind the last answer"


class TestExpectations:
    async def test_a_good_key_is_asked_for_the_body(self, scene: Scene) -> None:
        async with raw_client(scene.gateway.port) as client:
            await client.write(framed(LENGTH, "Expect: 100-continue", body=b""))
            assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.write(BODY)
            assert (await read_answer(client)).status == 200
        await scene.check_healthy()
        assert scene.seen == [UP_BODY]

    async def test_a_bad_key_is_told_and_the_body_not_waited_for(self, scene: Scene) -> None:
        async with raw_client(scene.gateway.port) as client:
            request = request_bytes(
                "POST", "/v1/responses", BODY, key="sk-no", headers=("Expect: 100-continue",)
            )
            await client.write(request.removesuffix(BODY))
            answer = await read_answer(client)
            assert (answer.status, answer.code) == (401, "invalid_api_key")
            assert answer.closes, "else the next request could be taken for the body that never came"
            assert await client.read_all() == b""
        await scene.check_healthy()
        assert scene.seen == []

    async def test_http_1_0_knows_no_interim_answer(self, scene: Scene) -> None:
        raw = framed(LENGTH, "Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
        await play(scene, raw, [OK])
        await scene.check_healthy()


class TestBodiesThatGoOn:
    async def test_an_early_answer_arrives_though_the_client_still_sends(self, scene: Scene) -> None:
        async with raw_client(scene.gateway.port) as client:
            await client.write(
                head(
                    RESPONSES,
                    "Host: gateway",
                    "Authorization: Bearer sk-no",
                    JSON,
                    f"Content-Length: {9 << 20}",
                )
            )
            for _ in range(8):
                await client.write(bytes(1 << 20))
            answer = await read_answer(client)
            assert (answer.status, answer.code, answer.closes) == (401, "invalid_api_key", True)
            assert await client.read_all() == b""
        await scene.check_healthy()
        assert scene.seen == []

    async def test_a_body_that_grows_too_long_is_refused_while_it_comes(self, scene: Scene) -> None:
        async with raw_client(scene.gateway.port) as client:
            await client.write(chunked(b""))
            piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
            for _ in range(24):
                await client.write(piece)
            answer = await read_answer(client)
            assert (answer.status, answer.code, answer.closes) == (413, "request_too_large", True)
            assert await client.read_all() == b""
        await scene.check_healthy()
        assert scene.seen == []


class TestClientsThatLeave:
    @pytest.mark.parametrize("sent", [0, 1, 20, len(GOOD) - 1], ids=["nothing", "a byte", "a line", "half"])
    async def test_a_head_that_never_ends_leaves_nothing(self, scene: Scene, sent: int) -> None:
        async with raw_client(scene.gateway.port) as client:
            await client.write(GOOD[:sent])
            client.writer.write_eof()
            assert await client.read_all() == b""
        await scene.check_healthy()
        assert scene.seen == []

    async def test_a_client_that_closes_its_side_has_left(self, scene: Scene) -> None:
        """As uvicorn reads it, and documented: a half-closed connection is a closed one."""
        async with raw_client(scene.gateway.port) as client:
            await client.write(framed(LENGTH, body=BODY[:5]))
            client.writer.write_eof()
            assert await client.read_all() == b""
        await scene.check_healthy()
        assert scene.seen == []

    async def test_a_reset_in_the_middle_of_a_body_leaves_nothing(self, scene: Scene) -> None:
        async with raw_client(scene.gateway.port) as client:
            await client.write(framed(LENGTH, body=BODY[:5]))
            client.reset()
        await scene.check_healthy()
        assert scene.seen == []


async def test_the_answer_to_a_head_request_has_no_body(scene: Scene) -> None:
    for raw, status in ((GOOD, 404), (BAD, 400)):
        async with raw_client(scene.gateway.port) as client:
            await client.write(
                raw.replace(b"GET", b"HEAD").replace(AUTH.encode(), AUTH.encode() + b"\r\nConnection: close")
            )
            answer = await read_answer(client, to_head=True)
            assert answer.status == status
            assert await client.read_all() == b""
    await scene.check_healthy()


async def test_the_operators_listener_is_guarded_too(scene: Scene) -> None:
    ops = int(scene.gateway.addresses[1].rsplit(":", 1)[1])
    async with raw_client(ops) as client:
        await client.write(head("GET /livez HTTP/1.1"))
        answer = await read_answer(client)
        assert (answer.status, answer.code) == HOST
        assert await client.read_all() == b""


async def test_the_operators_listener_ends_a_connection_whose_body_nobody_reads(scene: Scene) -> None:
    ops = int(scene.gateway.addresses[1].rsplit(":", 1)[1])
    async with raw_client(ops) as client:
        await client.write(head("POST /metrics HTTP/1.1", "Host: gateway", "Content-Length: 1000"), b"x")
        assert (await read_answer(client)).status == 404
        assert await client.read_all() == b""
