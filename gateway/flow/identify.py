"""Credentials to principal, before a byte of the body is read."""

from gateway.core.errors import Code, Refusal, Refused
from gateway.core.headers import bearer
from gateway.core.principal import Principal, digest_of
from gateway.flow.exchange import Arrival
from gateway.ports import Clock, KeyStore


async def identify(arrival: Arrival, keys: KeyStore, clock: Clock) -> Principal:
    """
    Who asks.

    Raises:
        Refused: 401 `invalid_api_key`. Unknown and expired keys are told alike: a guess learns nothing.
    """
    secret = bearer(arrival.headers)
    if secret is None:
        raise Refused(
            Refusal(
                Code.INVALID_API_KEY,
                "You didn't provide an API key. Send it as a bearer token: Authorization: Bearer YOUR_KEY.",
            )
        )
    principal = await keys.find(digest_of(secret))
    expired = (
        principal is not None and principal.expires_at is not None and principal.expires_at <= clock.now()
    )
    if principal is None or expired:
        message = "Incorrect API key provided: it is unknown to this gateway, revoked or expired."
        raise Refused(Refusal(Code.INVALID_API_KEY, message))
    return principal
