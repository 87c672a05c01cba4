import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.wire import MAX_FIELDS, MAX_HEAD_BYTES, MAX_SILENT_BYTES, Answer
from gateway.core.framing import MalformedError
from tests.support.chunking import cuts, split

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 5\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ANSWERS = {
    "length": LENGTH + b"hello",
    "chunked": CHUNKED + b"2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\nTrailer: x\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + LENGTH + b"hello",
}


def read(*pieces: bytes) -> Answer:
    answer = Answer()
    for piece in pieces:
        answer.feed(memoryview(piece))
    return answer


def body_of(answer: Answer) -> bytes:
    body = b""
    while answer.pieces:
        body += answer.take()
    assert answer.size == 0
    return body


class TestReading:
    @pytest.mark.parametrize("raw", ANSWERS.values(), ids=ANSWERS)
    def test_an_answer_does_not_depend_on_where_the_network_cuts_it(self, raw: bytes) -> None:
        whole, byte_by_byte = read(raw), read(*(raw[at : at + 1] for at in range(len(raw))))
        assert whole.head == byte_by_byte.head
        assert body_of(whole) == body_of(byte_by_byte) == b"hello"
        assert (whole.done, byte_by_byte.done) == (True, True)
        assert (whole.excess, byte_by_byte.excess) == (False, False)

    @given(st.data())
    def test_any_cuts_give_the_same_body(self, data: st.DataObject) -> None:
        body = data.draw(st.binary(max_size=400))
        frames = b"".join(
            b"%x\r\n%b\r\n" % (len(one), one) for one in split(body, data.draw(cuts(len(body))))
        )
        for raw in (CHUNKED + frames + b"0\r\n\r\n", OK + b"Content-Length: %d\r\n\r\n" % len(body) + body):
            answer = read(*split(raw, data.draw(cuts(len(raw)))))
            assert (answer.done, answer.excess, body_of(answer)) == (True, False, body)

    def test_what_has_arrived_is_there_at_once_as_it_came(self) -> None:
        answer = read(LENGTH, b"he", b"l")
        assert list(answer.pieces) == [b"he", b"l"]
        assert (answer.size, answer.done) == (3, False)
        answer = read(CHUNKED, b"a\r\nhe")
        assert list(answer.pieces) == [b"he"]

    def test_the_buffer_may_be_used_again(self) -> None:
        buffer = bytearray(LENGTH + b"he")
        answer = Answer()
        answer.feed(memoryview(buffer))
        buffer[:] = bytes(len(buffer))
        assert answer.head is not None
        assert answer.head.headers == ((b"content-length", b"5"),)
        assert body_of(answer) == b"he"

    def test_values_lose_the_blanks_around_them_only(self) -> None:
        answer = read(OK + b"X-A: \t b  c \t\r\nContent-Length: 0\r\n\r\n")
        assert answer.head is not None
        assert answer.head.headers[0] == (b"x-a", b"b  c")

    def test_trailers_are_dropped(self) -> None:
        answer = read(ANSWERS["chunked"])
        assert answer.head is not None
        assert answer.head.headers == ((b"transfer-encoding", b"chunked"),)

    def test_some_bodies_end_with_the_connection(self) -> None:
        answer = read(OK + b"\r\n", b"hel", b"lo")
        assert not answer.done
        answer.end()
        assert (answer.done, body_of(answer)) == (True, b"hello")

    @pytest.mark.parametrize("raw", [b"", OK, LENGTH + b"he", CHUNKED + b"3\r\nabc\r\n"])
    def test_others_do_not(self, raw: bytes) -> None:
        answer = read(raw)
        answer.end()
        assert not answer.done

    def test_an_offer_of_another_protocol_is_not_taken(self) -> None:
        offer = b"Upgrade: h2\r\nConnection: Upgrade\r\n"
        answer = read(OK + offer + b"Content-Length: 2\r\n\r\n{}")
        assert (answer.done, body_of(answer)) == (True, b"{}")


class TestExcess:
    @pytest.mark.parametrize(
        "raw",
        [*ANSWERS.values(), OK + b"Content-Length: 0\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"],
        ids=[*ANSWERS, "empty", "204"],
    )
    @pytest.mark.parametrize("behind", [b"x", LENGTH + b"other", b"\0"])
    def test_bytes_behind_a_complete_answer_are_noted_and_not_read(self, raw: bytes, behind: bytes) -> None:
        for pieces in ((raw + behind,), (raw, behind)):
            answer = read(*pieces)
            assert (answer.done, answer.excess) == (True, True)
            assert body_of(answer) in {b"hello", b""}


class TestMalformed:
    @pytest.mark.parametrize(
        "raw",
        [
            b"hello",
            b"\0",
            b"\r\n\r\n" + LENGTH,
            b"HTTP/1.1 103 Hints\r\n\r\n\r\n\r\n" + LENGTH,
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/1.1 042 OK\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\n\r\n",
            OK + b"no colon\r\n\r\n",
            OK + b"Name : x\r\n\r\n",
            OK + b"A: b\r\n folded\r\n\r\n",
            OK + b"A: b\0c\r\n\r\n",
            OK + b"A: b\rc\r\n\r\n",
            OK.replace(b"\r\n", b"\n") + b"A: b\n\n",
            OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
            OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            OK + b"Transfer-Encoding: gzip\r\n\r\n",
            CHUNKED + b"x\r\n",
            CHUNKED + b"2\r\nabc\r\n",
            CHUNKED + b"ffffffffffffffffff\r\n",
            CHUNKED + b"1\na\n0\n\n",
        ],
    )
    def test_what_is_no_answer_is_malformed_at_once(self, raw: bytes) -> None:
        with pytest.raises(MalformedError):
            read(raw)
        with pytest.raises(MalformedError):
            read(*(raw[at : at + 1] for at in range(len(raw))))

    def test_pieces_before_the_fault_are_good(self) -> None:
        answer = read(CHUNKED, b"3\r\nabc\r\n")
        with pytest.raises(MalformedError):
            answer.feed(memoryview(b"!\r\n"))
        assert body_of(answer) == b"abc"

    def test_heads_are_bounded(self) -> None:
        field = b"X: " + b"x" * 1000 + b"\r\n"
        fits = read(OK + field * (MAX_HEAD_BYTES // len(field) - 1) + b"\r\n")
        assert fits.head is not None
        with pytest.raises(MalformedError):
            read(OK, *[field] * (MAX_HEAD_BYTES // len(field) + 1))
        with pytest.raises(MalformedError):
            read(*[b"HTTP/1.1 103 Hints\r\n\r\n"] * 5000)

    def test_fields_are_counted(self) -> None:
        assert read(OK + b"A: b\r\n" * MAX_FIELDS + b"\r\n").head is not None
        with pytest.raises(MalformedError):
            read(OK + b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n")

    @pytest.mark.parametrize("start", [b"1;", b"0\r\nTrailer: "], ids=["extension", "trailer"])
    def test_framing_without_a_body_is_bounded(self, start: bytes) -> None:
        with pytest.raises(MalformedError):
            read(CHUNKED, start, *[b"x" * 1000] * (MAX_SILENT_BYTES // 1000 + 1))

    def test_small_chunks_are_no_fault(self) -> None:
        answer = read(CHUNKED, *[b"1\r\nx\r\n"] * (MAX_SILENT_BYTES // 3), b"0\r\n\r\n")
        assert answer.done


PARTS = st.sampled_from(
    [
        OK,
        LENGTH,
        CHUNKED,
        b"\r\n",
        b"\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: upgrade\r\nUpgrade: x\r\n",
        b"HTTP/1.1 100 C\r\n\r\n",
        b"HTTP/1.1 101 S\r\n",
        b"HTTP/1.0 200\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"A: b\r\n",
    ]
)


@given(st.lists(PARTS | st.binary(max_size=6), max_size=10).map(b"".join), st.data())
def test_whatever_comes_is_read_or_malformed_and_cuts_make_no_difference(
    raw: bytes, data: st.DataObject
) -> None:
    def outcome(pieces: list[bytes]) -> tuple[object, ...]:
        answer = Answer()
        failed = False
        try:
            for piece in pieces:
                answer.feed(memoryview(piece))
        except MalformedError:
            failed = True
        return answer.head, body_of(answer), answer.done, failed

    whole = outcome([raw] if raw else [])
    in_pieces = outcome(split(raw, data.draw(cuts(len(raw)))))
    assert whole == in_pieces
