import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.framing import (
    Body,
    Framing,
    MalformedError,
    check_not_ours,
    fields,
    framing_of,
    request_line,
)
from gateway.core.headers import Header


class TestAnswers:
    @pytest.mark.parametrize(
        ("status", "version", "headers", "framing"),
        [
            (200, "1.1", [(b"content-length", b"5")], Framing(Body.LENGTH, 5, keeps_alive=True)),
            (200, "1.1", [(b"content-length", b"0")], Framing(Body.NONE, 0, keeps_alive=True)),
            (200, "1.1", [(b"content-length", b"5")] * 2, Framing(Body.LENGTH, 5, keeps_alive=True)),
            (200, "1.1", [(b"transfer-encoding", b"Chunked")], Framing(Body.CHUNKED, 0, keeps_alive=True)),
            (200, "1.1", [], Framing(Body.TO_END, 0, keeps_alive=False)),
            (204, "1.1", [], Framing(Body.NONE, 0, keeps_alive=True)),
            (304, "1.1", [(b"content-length", b"5")], Framing(Body.NONE, 0, keeps_alive=True)),
            (
                200,
                "1.1",
                [(b"connection", b"keep-alive, Close"), (b"content-length", b"5")],
                Framing(Body.LENGTH, 5, keeps_alive=False),
            ),
            (200, "1.0", [(b"content-length", b"5")], Framing(Body.LENGTH, 5, keeps_alive=False)),
            (
                200,
                "1.0",
                [(b"connection", b"Keep-Alive"), (b"content-length", b"5")],
                Framing(Body.LENGTH, 5, keeps_alive=True),
            ),
        ],
    )
    def test_an_answer_ends_where_its_head_says(
        self, status: int, version: str, headers: list[Header], framing: Framing
    ) -> None:
        assert framing_of(status, version, headers) == framing

    @pytest.mark.parametrize(
        ("version", "headers"),
        [
            ("1.1", [(b"content-length", b"5"), (b"content-length", b"6")]),
            ("1.1", [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]),
            ("1.1", [(b"transfer-encoding", b"gzip, chunked")]),
            ("1.1", [(b"transfer-encoding", b"identity")]),
            ("1.1", [(b"transfer-encoding", b"chunked")] * 2),
            ("1.0", [(b"transfer-encoding", b"chunked")]),
            ("1.1", [(b"content-length", b"5, 5")]),
            ("1.1", [(b"content-length", b"+5")]),
            ("1.1", [(b"content-length", b"-5")]),
            ("1.1", [(b"content-length", b"0x5")]),
            ("1.1", [(b"content-length", b"")]),
            ("1.1", [(b"content-length", b"9" * 5000)]),
            ("2.0", []),
            ("0.9", []),
        ],
    )
    def test_what_could_be_read_in_two_ways_is_malformed(self, version: str, headers: list[Header]) -> None:
        with pytest.raises(MalformedError):
            framing_of(200, version, headers)


class TestRequests:
    def test_a_request_is_written_as_it_is_meant(self) -> None:
        assert request_line("POST", b"/v1/x?a=b%20c") == b"POST /v1/x?a=b%20c HTTP/1.1\r\n"
        assert fields([(b"a", b"1"), (b"b", b"\xe4 2")]) == b"a: 1\r\nb: \xe4 2\r\n"
        assert fields([]) == b""

    @pytest.mark.parametrize("sign", [b"\r", b"\n", b"\r\n", b"\0", b" ", b"\x7f", b"\r\nx-evil: 1\r\n"])
    def test_a_target_cannot_end_its_line(self, sign: bytes) -> None:
        with pytest.raises(ValueError, match="target"):
            request_line("GET", b"/v1/models" + sign)

    @pytest.mark.parametrize("method", ["", "GET /", "GET\r\n", "GÄT"])
    def test_a_method_is_one_word(self, method: str) -> None:
        with pytest.raises(ValueError, match=r"method|ascii"):
            request_line(method, b"/")

    @pytest.mark.parametrize("sign", [b"\r", b"\n", b"\r\n", b"\0", b"x\r\ny: z"])
    def test_a_header_cannot_end_its_line_and_is_not_shown(self, sign: bytes) -> None:
        for header in ((b"name" + sign, b"secret"), (b"name", b"sec" + sign + b"ret")):
            with pytest.raises(ValueError, match="does not allow") as caught:
                fields([(b"good", b"1"), header])
            assert "sec" not in str(caught.value)

    @given(st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=12))))
    def test_as_many_lines_go_out_as_headers_came_in(self, headers: list[Header]) -> None:
        try:
            rendered = fields(headers)
        except ValueError:
            return
        lines = rendered.split(b"\r\n")[:-1]
        assert [tuple(line.split(b": ", 1)) for line in lines] == headers

    @given(
        st.lists(
            st.tuples(st.sampled_from([b"a", b"x-b"]), st.sampled_from([b"", b"1", b"1\r\nc: 2", b"\n"]))
        )
    )
    def test_a_line_within_a_value_is_found(self, headers: list[Header]) -> None:
        if any(b"\n" in value for _, value in headers):
            with pytest.raises(ValueError, match="does not allow"):
                fields(headers)
        else:
            assert fields(headers).count(b"\r\n") == len(headers)

    @pytest.mark.parametrize("name", [b"host", b"content-length", b"transfer-encoding", b"connection"])
    def test_framing_is_nobody_elses_to_write(self, name: bytes) -> None:
        with pytest.raises(ValueError, match=name.decode()):
            check_not_ours([(b"accept", b"*/*"), (name, b"1")])
