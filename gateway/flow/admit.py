"""
The first door: may this caller make this call now?

It stands before everything that costs; limits on requests and concurrency will be taken here.
"""

from gateway.core.admission import (
    DefaultModels,
    refusal_of,
    refusal_of_model,
    refusal_of_route,
)
from gateway.core.call import Call
from gateway.core.errors import Refused
from gateway.core.principal import Principal
from gateway.core.routes import Match


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
