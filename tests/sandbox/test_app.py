"""What all calls of the sandbox have in common: keys, headers, routes."""

import re

import httpx2
import pytest
from openai import AuthenticationError, OpenAI

from gateway.sandbox.app import create
from tests.support.sandbox import sandbox
from tests.support.sandbox_client import invoice, visitors


def test_without_a_key_the_answer_is_openais_401(url: str) -> None:
    answer = httpx2.get(f"{url}/v1/models")

    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_request_error"
    with (
        OpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0) as client,
        pytest.raises(AuthenticationError),
    ):
        client.models.list(extra_headers={"Authorization": "Basic x"})


def test_every_answer_has_the_headers_of_openai_and_of_its_edge(http: httpx2.Client) -> None:
    for answer in (http.get("/v1/models"), http.get("/v1/nowhere")):
        assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
        assert answer.headers["openai-version"] == "2020-10-01"
        assert answer.headers["openai-processing-ms"].isdigit()
        assert answer.headers["content-type"] == "application/json"
        assert {
            "openai-organization",
            "openai-project",
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
            "x-ratelimit-limit-tokens",
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-tokens",
            "set-cookie",
            "alt-svc",
            "strict-transport-security",
        } <= set(answer.headers)


def test_no_two_requests_have_the_same_id(http: httpx2.Client) -> None:
    seen = {http.get("/v1/models").headers["x-request-id"] for _ in range(5)}

    assert len(seen) == 5


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nowhere", 404, "unknown_url"),
        ("POST", "/v1/chat/completions", 404, "unknown_url"),
        ("GET", "/v1/images/generations", 405, "method_not_supported"),
        ("GET", "/_sandbox/nowhere", 404, "unknown_url"),
    ],
)
def test_what_is_not_there_is_said_in_openais_shape(
    http: httpx2.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = http.request(method, path)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_body_that_is_no_json_object_is_refused(http: httpx2.Client) -> None:
    headers = {"content-type": "application/json"}

    assert http.post("/v1/images/generations", content=b"{", headers=headers).status_code == 400
    assert http.post("/v1/images/generations", content=b"[]", headers=headers).status_code == 400


def test_a_negative_speed_is_refused() -> None:
    with pytest.raises(ValueError, match="speed must be 0"):
        create(-1)


def test_sandboxes_know_nothing_of_each_other(http: httpx2.Client) -> None:
    with sandbox() as other, httpx2.Client(base_url=other, headers={"authorization": "Bearer x"}) as theirs:
        theirs.get("/v1/models")

        assert len(visitors(theirs)) == 1
    assert visitors(http) == []
    assert invoice(http)["requests"] == 0
