import orjson
import pytest

from gateway.core.models import filter_models
from gateway.core.principal import Allow, Principal, Scope

WHO = Principal(
    Scope("org", "default"), Scope("team", "design"), Scope("key", "k1", Allow(models=("gpt-image-*",)))
)


def test_a_list_shows_only_what_the_caller_may_use() -> None:
    listing = {
        "object": "list",
        "data": [
            {"id": "gpt-image-2", "object": "model", "shutdown_date": None},
            {"id": "dall-e-3", "object": "model"},
        ],
        "has_more": False,
    }
    assert orjson.loads(filter_models(orjson.dumps(listing), WHO)) == {
        **listing,
        "data": [{"id": "gpt-image-2", "object": "model", "shutdown_date": None}],
    }


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"data":{}}', b'{"data":[1,{"id":2}]}'])
def test_what_cannot_be_read_shows_nothing(body: bytes) -> None:
    assert orjson.loads(filter_models(body, WHO))["data"] == []
