"""The values that are handed on while a call is shared: what is to be done, and what a look into the cache brought."""

from dataclasses import dataclass

from gateway.core.artefact import Plan
from gateway.core.cachecontrol import Forward
from gateway.core.entry import Entry
from gateway.flow.exchange import Client
from gateway.flow.fetch import OpenReply
from gateway.flow.giving import Hit
from gateway.flow.story import Story
from gateway.flow.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Errand:
    """One request that is to be answered."""

    wanted: Wanted
    story: Story
    client: Client
    open_reply: OpenReply

    def has_sent(self) -> bool:
        """Whether anything of an answer was sent to its client, be it the head."""
        return self.story.first_byte_at is not None


@dataclass(frozen=True, slots=True)
class Found:
    """What a look into the cache brought."""

    hit: Hit | None = None
    why: Forward = Forward.MISS
    """Nothing is given."""
    stale: tuple[Entry, Plan] | None = None
    """What may be given in place of an error."""
