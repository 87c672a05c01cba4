"""The keys of the configuration file, by the digest of their secrets."""

from collections.abc import Mapping

from gateway.core.principal import Principal


class FileKeys:
    """
    The `KeyStore` port over a dictionary.

    Args:
        holders: principal by the digest of its key's secret.
    """

    def __init__(self, holders: Mapping[bytes, Principal]) -> None:
        self._holders = dict(holders)

    async def find(self, digest: bytes) -> Principal | None:
        """The holder of the key with this digest. A dictionary look-up on a digest tells a guesser nothing."""
        return self._holders.get(digest)
