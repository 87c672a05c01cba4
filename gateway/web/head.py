"""
What a request's head must be before anybody reads it.

llhttp, the parser below us, refuses what is not HTTP and what frames a body in two ways (two lengths, a length and a
Transfer-Encoding, chunked not last). Here is what it lets pass and somebody on the way could read differently than
we do: RFC 9112 in its strict reading. Not here: routes, keys, what a body says.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import httptools

from gateway.core.errors import Code, Refusal
from gateway.core.headers import Header

_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z")
_TARGET = re.compile(rb"[\x21\x22\x24-\x7e]+\Z")
"""Printable ASCII without a fragment."""
_VERSIONS = frozenset({"1.0", "1.1"})
_SCHEMES = frozenset({b"http", b"https"})


@dataclass(frozen=True, slots=True)
class Head:
    """A head as the parser gave it."""

    target: bytes
    version: str
    headers: Sequence[Header]
    """Names in lower case."""

    @property
    def size(self) -> int:
        """Bytes, as near as it matters: what the parser dropped on the way is blanks."""
        return len(self.target) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    @property
    def has_body(self) -> bool:
        """Whether a body is announced."""
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0") != b"")
            for name, value in self.headers
        )

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a field, in order."""
        return [value for known, value in self.headers if known == name]


def objection(head: Head) -> Refusal | None:
    """Why this head must not begin a request; None if it may."""
    if head.version not in _VERSIONS:
        return _bad(f"This server speaks HTTP/1.1, not HTTP/{head.version}.")
    hosts = head.values(b"host")
    if len(hosts) != 1 or not _HOST.match(hosts[0]):
        return Refusal(Code.INVALID_HOST, "The request needs exactly one Host header with a host name.")
    return _objection_to_target(head.target, hosts[0]) or _objection_to_fields(head)


def _objection_to_target(target: bytes, host: bytes) -> Refusal | None:
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        url = None
    if url is None or not url.path or not _TARGET.match(target):
        return _bad("The request target is not the path of a URL.")
    if url.schema is not None:
        _, _, rest = target.partition(b"://")
        authority = re.split(rb"[/?]", rest, maxsplit=1)[0]
        if url.schema.lower() not in _SCHEMES or authority.lower() != host.lower():
            message = "The request target names another place than the Host header does."
            return Refusal(Code.INVALID_HOST, message)
    return None


def _objection_to_fields(head: Head) -> Refusal | None:
    if any(b"_" in name for name, _ in head.headers):
        return _bad("Header names must not contain an underscore: some servers read it as a hyphen.")
    codings = head.values(b"transfer-encoding")
    if codings and head.version == "1.0":
        return _bad("HTTP/1.0 has no Transfer-Encoding.")
    if codings and [coding.strip().lower() for coding in codings] != [b"chunked"]:
        return _bad("The only Transfer-Encoding understood here is chunked, said once.")
    if any(value.strip().lower() != b"100-continue" for value in head.values(b"expect")):
        return _bad("The only expectation understood here is 100-continue.")
    if head.values(b"content-encoding"):
        message = "Request bodies must not be compressed: send them without Content-Encoding."
        return Refusal(Code.UNSUPPORTED_CONTENT_ENCODING, message)
    return None


def _bad(message: str) -> Refusal:
    return Refusal(Code.INVALID_HEADER, message)
