from gateway.adapters.keyfile import FileKeys
from gateway.core.principal import digest_of
from tests.support.gateway import principal


async def test_a_key_is_found_by_its_digest() -> None:
    holder = principal()
    keys = FileKeys({digest_of("sk-1"): holder})
    assert await keys.find(digest_of("sk-1")) is holder
    assert await keys.find(digest_of("sk-2")) is None
