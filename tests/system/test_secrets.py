"""Canaries in every place that holds a secret, a prompt or a picture: none may sing."""

import base64
import json
from pathlib import Path

import openai
import pytest

from tests.support.process import gateway_process, sandbox_process

pytestmark = pytest.mark.system
FIELD = "canary-field"
CANARIES = {
    "the caller's key": "sk-canary-caller",
    "a wrong key": "sk-canary-wrong",
    "the upstream's key": "sk-canary-upstream",
    "a prompt": "canary-prompt",
    "a picture": base64.b64encode(b"canary-picture-canary-picture").decode(),
    "a user": "canary-user",
    "a header": "canary-header",
    "a cookie": "canary-cookie",
    "a query": "canary-query",
    "a field's name": FIELD,
}


def test_no_secret_prompt_or_picture_reaches_the_log(tmp_path: Path) -> None:
    with sandbox_process(tmp_path) as sandbox:
        with gateway_process(
            f"{sandbox.url}/v1",
            tmp_path,
            api_key=CANARIES["the upstream's key"],
            key=CANARIES["the caller's key"],
            rest='[log]\nlevel = "debug"\n',
        ) as gateway:
            _sing(f"{gateway.url}/v1")
            log = gateway.log
        lines = log.read_text()
    requests = [json.loads(line) for line in lines.splitlines() if '"imagegate.request"' in line]
    assert {entry["outcome"] for entry in requests} >= {"completed", "refused", "failed", "upstream_cut"}
    assert [what for what, canary in CANARIES.items() if canary in lines] == []


def _sing(base_url: str) -> None:
    """Every kind of call, with canaries wherever they fit; and none in the errors that come back."""
    sdk = openai.OpenAI(
        base_url=base_url,
        api_key=CANARIES["the caller's key"],
        max_retries=0,
        default_headers={"X-Odd": CANARIES["a header"], "Cookie": CANARIES["a cookie"]},
        default_query={"odd": CANARIES["a query"]},
    )
    answers = []
    image = {"image_url": f"data:image/png;base64,{CANARIES['a picture']}"}
    asked = {
        "model": "gpt-image-1",
        "prompt": CANARIES["a prompt"],
        "quality": "low",
        "user": CANARIES["a user"],
    }
    for body, headers in (
        (asked, {}),
        ({**asked, "n": CANARIES["a prompt"]}, {}),
        ({**asked, "images": [image]}, {}),
        (asked, {"X-Sandbox": "fail=status=500"}),
        (asked, {"X-Sandbox": "fail=before"}),
        ({**asked, "stream": True, "partial_images": 1}, {"X-Sandbox": "fail=mid-stream"}),
        (asked, {"Authorization": f"Bearer {CANARIES['a wrong key']}"}),
    ):
        try:
            sdk.post("/images/generations", body=body, cast_to=object, options={"headers": headers})
        except openai.APIError as error:
            answers.append(str(error))
    for broken in (
        f'{{"prompt":"{CANARIES["a prompt"]}",'.encode(),
        f'{{"{FIELD}":1,"prompt":"{CANARIES["a prompt"]}","prompt":1}}'.encode(),
    ):
        answer = sdk._client.post(
            f"{base_url}/images/generations",
            content=broken,
            headers={"Authorization": f"Bearer {sdk.api_key}", "Content-Type": "application/json"},
        )
        answers.append(answer.text)
    secrets = [CANARIES[name] for name in ("the caller's key", "a wrong key", "the upstream's key")]
    assert [answer for answer in answers if any(secret in answer for secret in secrets)] == []
    sdk.close()
