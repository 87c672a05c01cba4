"""What every store may do."""

from gateway.core.limits import Limit


class StoreFailed(Exception):  # noqa: N818 - as UpstreamFailed: it is what happened
    """
    A store that did not do what was asked.

    Args:
        reason: in words, for a log.
        unknown: whether it may have been done all the same. False is a promise: nothing was. True: the same call
            again is safe, as all of them are repeatable by id, and its answer is the truth.
        damaged: the store answers, but what it holds about this very call, or this very limit, cannot be read. Asked again it
            says the same, and others are not concerned.
    """

    def __init__(self, reason: str, *, unknown: bool, damaged: bool = False) -> None:
        doubt = "; whether it was written is not known" if unknown else ""
        super().__init__(f"the store failed: {reason}{doubt}")
        self.unknown = unknown
        self.damaged = damaged


class UnfitError(Exception):
    """The store cannot be used as it is; the message says why and what to do."""


class LargeLimitError(Exception):
    """
    A limit that the store cannot count against.

    Args:
        limit: as it was to be set.
        most: what it can, in words.
    """

    def __init__(self, limit: Limit, most: str) -> None:
        super().__init__(f"'{limit.text}' is more than this store can count exactly, {most}.")
        self.limit = limit
