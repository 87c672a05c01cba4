"""Heads that are let in, and heads that are not. `tests/system/test_wire.py` has them as bytes."""

import pytest

from gateway.core.errors import Code
from gateway.core.headers import Header
from gateway.web.head import Head, objection

HOST: Header = (b"host", b"gateway")


def code_of(*fields: Header, target: bytes = b"/v1/models", version: str = "1.1") -> Code | None:
    refusal = objection(Head(target, version, fields))
    return None if refusal is None else refusal.code


@pytest.mark.parametrize(
    "host", [b"gateway", b"my_host.local:8080", b"127.0.0.1", b"[::1]:80", b"xn--bcher-kva.example."]
)
def test_a_host_is_a_name_or_an_address_with_or_without_a_port(host: bytes) -> None:
    assert code_of((b"host", host)) is None


@pytest.mark.parametrize(
    "host", [b"", b"a b", b"a,b", b"u@a", b"a/b", b"a:", b"a:123456", b"[::1", b"a\xe4", b"a%41"]
)
def test_anything_else_is_no_host(host: bytes) -> None:
    assert code_of((b"host", host)) is Code.INVALID_HOST


def test_there_is_exactly_one_host() -> None:
    assert code_of() is Code.INVALID_HOST
    assert code_of(HOST, HOST) is Code.INVALID_HOST


@pytest.mark.parametrize("version", ["0.9", "2.0"])
def test_only_two_versions_are_spoken(version: str) -> None:
    assert code_of(HOST, version=version) is Code.INVALID_HEADER


@pytest.mark.parametrize(
    "target", [b"/", b"/v1/models?a=%20b&c[]=d", b"*", b"http://gateway/v1", b"HTTP://GateWay/v1?x"]
)
def test_a_target_is_a_path_or_our_own_url(target: bytes) -> None:
    assert code_of(HOST, target=target) is None


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (b"", Code.INVALID_HEADER),
        (b"gateway:443", Code.INVALID_HEADER),
        (b"http://gateway", Code.INVALID_HEADER),
        (b"/v1#x", Code.INVALID_HEADER),
        (b"/v1\xff", Code.INVALID_HEADER),
        (b"http://other/v1", Code.INVALID_HOST),
        (b"http://u@gateway/v1", Code.INVALID_HOST),
        (b"http://gateway:80/v1", Code.INVALID_HOST),
        (b"ftp://gateway/v1", Code.INVALID_HOST),
    ],
)
def test_other_targets_are_refused(target: bytes, code: Code) -> None:
    assert code_of(HOST, target=target) is code


@pytest.mark.parametrize(
    ("fields", "version", "code"),
    [
        ([(b"x_y", b"z")], "1.1", Code.INVALID_HEADER),
        ([(b"transfer-encoding", b"chunked")], "1.0", Code.INVALID_HEADER),
        ([(b"transfer-encoding", b"gzip, chunked")], "1.1", Code.INVALID_HEADER),
        ([(b"transfer-encoding", b"chunked")] * 2, "1.1", Code.INVALID_HEADER),
        ([(b"transfer-encoding", b"Chunked")], "1.1", None),
        ([(b"expect", b"100-Continue")], "1.1", None),
        ([(b"expect", b"200-ok")], "1.1", Code.INVALID_HEADER),
        ([(b"content-encoding", b"identity")], "1.1", Code.UNSUPPORTED_CONTENT_ENCODING),
    ],
)
def test_fields_that_frame_or_code_a_body_are_read_in_one_way_only(
    fields: list[Header], version: str, code: Code | None
) -> None:
    assert code_of(HOST, *fields, version=version) is code


@pytest.mark.parametrize(
    ("fields", "has_body"),
    [
        ([], False),
        ([(b"content-length", b"0")], False),
        ([(b"content-length", b"00")], False),
        ([(b"content-length", b"10")], True),
        ([(b"transfer-encoding", b"chunked")], True),
    ],
)
def test_a_body_is_announced_by_a_length_or_by_chunks(fields: list[Header], has_body: bool) -> None:
    assert Head(b"/", "1.1", fields).has_body is has_body


def test_the_size_of_a_head_is_what_lay_on_the_wire() -> None:
    assert Head(b"/v1", "1.1", [(b"host", b"a"), (b"x", b"")]).size == len(b"/v1host: a\r\nx: \r\n")
