"""
The first door: may this caller make this call now?

It stands before everything that costs; limits on requests and concurrency will be taken here.
"""

from typing import Self

from gateway.core.admission import (
    DefaultModels,
    refusal_of,
    refusal_of_model,
    refusal_of_route,
)
from gateway.core.call import Call
from gateway.core.errors import Code, Refusal, Refused
from gateway.core.principal import Principal
from gateway.core.routes import Match


class Gate:
    """
    How many requests are inside at once: beyond the limit a request is sent away before it hurts the others.

    One gate outlives every configuration, so that it counts all of them.
    """

    def __init__(self) -> None:
        self.inside = 0

    def below(self, most: int) -> Self:
        """
        The gate, to be entered at once.

        Args:
            most: requests inside at most.

        Raises:
            Refused: 503 `overloaded`.
        """
        if self.inside >= most:
            message = f"The gateway has {most} requests under way (server.max_concurrent). Please try again."
            raise Refused(Refusal(Code.OVERLOADED, message, retry_after_ms=1000))
        return self

    def __enter__(self) -> None:
        """Enter."""
        self.inside += 1

    def __exit__(self, *_: object) -> None:
        """Leave."""
        self.inside -= 1


def admit_route(principal: Principal, match: Match) -> None:
    """
    What can be said before the body is read.

    Raises:
        Refused: 403 `not_allowed`.
    """
    refusal = refusal_of_route(principal, match.route.name)
    if refusal is None and match.route.name == "models.retrieve":
        refusal = refusal_of_model(principal, match.ids[0])
    if refusal is not None:
        raise Refused(refusal)


def admit(principal: Principal, call: Call, defaults: DefaultModels) -> None:
    """
    The call itself, against every allow-list.

    Raises:
        Refused: 403 `not_allowed`, with the field at fault in `param`.
    """
    refusal = refusal_of(principal, call, defaults)
    if refusal is not None:
        raise Refused(refusal)
