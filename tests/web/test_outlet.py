"""What uvicorn writes through. How it ends connections is in test_guard.py, HTTP/1.0 too."""

import asyncio

import pytest
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.web.outlet import Outlet


class Pipe(asyncio.Transport):
    """Keeps what is written until the test takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.held = b""
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.held += bytes(data)

    def get_write_buffer_size(self) -> int:
        return len(self.held)

    def is_closing(self) -> bool:
        return self.closing


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


def test_it_counts_what_has_left(pipe: Pipe) -> None:
    outlet = Outlet(pipe, lambda: None)
    outlet.write(b"12345")
    assert outlet.taken == 0
    pipe.held = pipe.held[2:]
    assert outlet.taken == 2


def test_a_close_is_an_end_not_a_close(pipe: Pipe) -> None:
    ended: list[bool] = []
    Outlet(pipe, lambda: ended.append(pipe.closing)).close()
    assert ended == [False]


def test_once_shut_nothing_more_is_written(pipe: Pipe) -> None:
    outlet = Outlet(pipe, lambda: None)
    outlet.shut = True
    outlet.write(b"late")
    assert (pipe.held, outlet.taken, outlet.is_closing()) == (b"", 0, True)


def test_it_is_closing_when_the_transport_is(pipe: Pipe) -> None:
    outlet = Outlet(pipe, lambda: None)
    assert not outlet.is_closing()
    pipe.closing = True
    assert outlet.is_closing()


def test_every_status_of_three_digits_can_be_said() -> None:
    assert all(STATUS_LINE[status].startswith(b"HTTP/1.1 %d " % status) for status in range(100, 1000))
