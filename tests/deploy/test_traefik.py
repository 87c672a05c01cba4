"""The settings for Traefik. There is none on this machine to ask: what they say is held against what they must not say."""

from pathlib import Path
from typing import Any

import yaml

TEXT = (Path(__file__).parents[2] / "deploy" / "traefik" / "imagegate.yaml").read_text(encoding="utf-8")
HTTP: dict[str, Any] = yaml.safe_load(TEXT)["http"]
READ_TIMEOUT_S = 600


def test_nothing_holds_a_stream_back() -> None:
    assert "middlewares" not in HTTP["routers"]["imagegate"]
    balancer = HTTP["services"]["imagegate"]["loadBalancer"]
    assert balancer["responseForwarding"]["flushInterval"].startswith("-")
    assert balancer["healthCheck"]["path"] == "/readyz"


def test_the_first_byte_of_a_picture_is_waited_for() -> None:
    timeouts = HTTP["serversTransports"]["imagegate"]["forwardingTimeouts"]
    assert int(timeouts["responseHeaderTimeout"].removesuffix("s")) > READ_TIMEOUT_S
