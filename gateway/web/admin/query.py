"""The parameters of a request to the admin API: each is known, and there once."""

from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request

from gateway.core.errors import Code, Refusal, Refused, quoted

T = TypeVar("T")


class Query:
    """
    The parameters of a request.

    Args:
        request: whose.
        known: the names that mean something here.

    Raises:
        Refused: there is another one, or one of them twice.
    """

    def __init__(self, request: Request, known: frozenset[str]) -> None:
        self._params = request.query_params
        for name in self._params:
            if name not in known:
                raise refused(
                    name, f"There is no parameter {quoted(name)} here; there are {', '.join(sorted(known))}."
                )
            if len(self._params.getlist(name)) > 1:
                raise refused(name, f"The parameter {quoted(name)} is there twice.")

    def text(self, name: str) -> str | None:
        """As it was sent; None: it was not."""
        return self._params.get(name)

    def read(self, name: str, reader: Callable[[str], T]) -> T | None:
        """As the reader understands it; what it raises as ValueError becomes a refusal."""
        text = self._params.get(name)
        if text is None:
            return None
        try:
            return reader(text)
        except ValueError as error:
            raise refused(name, str(error)) from None


def refused(name: str, message: str) -> Refused:
    """The refusal of what stands under a name, a parameter's or a field's: 400 `invalid_type`."""
    return Refused(Refusal(Code.INVALID_TYPE, message, param=name[:80]))
