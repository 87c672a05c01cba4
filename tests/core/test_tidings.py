"""What is told of an answer comes back as it was told, and what is not known is lost."""

import pytest

from gateway.core.errors import Failure
from gateway.core.flight import Cut, Erred, Failed, Landing, Lost, Stored, Withheld
from gateway.core.freshness import Reason
from gateway.core.tidings import head_dumps, head_loads, landing_dumps, landing_loads

LANDINGS: tuple[Landing, ...] = (
    Stored(),
    *(Withheld(reason) for reason in Reason),
    Erred(429),
    *(Failed(failure, "connect", sent=sent) for failure in Failure for sent in (False, True)),
    *(Cut(failure, "read") for failure in Failure),
    Lost(),
)


@pytest.mark.parametrize("landing", LANDINGS, ids=str)
def test_every_landing_comes_back(landing: Landing) -> None:
    assert landing_loads(landing_dumps(landing)) == landing


@pytest.mark.parametrize(
    "said",
    [b"", b"{}", b'{"landing":"Novel"}', b'{"landing":"Withheld","reason":"novel"}', b'{"landing":"Erred"}'],
)
def test_a_landing_of_another_version_is_lost(said: bytes) -> None:
    assert landing_loads(said) == Lost()


def test_a_head_comes_back_whatever_its_bytes() -> None:
    headers = ((b"content-type", b"text/event-stream"), (b"x-odd", b"\xff\x80"), (b"x-odd", b""))
    assert head_loads(head_dumps(200, headers)) == (200, headers)


@pytest.mark.parametrize(
    "said", [b"", b"{}", b"[]", b"[200]", b"[null, []]", b"[200, [[1, 2]]]", b"[200, 3]"]
)
def test_what_is_no_head_is_told(said: bytes) -> None:
    with pytest.raises(ValueError, match=r"head|char|unpack"):
        head_loads(said)
