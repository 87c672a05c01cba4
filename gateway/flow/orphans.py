"""
Generations whose client has left.

They have been begun and will be paid for, so by default they are read to their end: what they cost is then known, not
assumed. Bounded in number and time; beyond that, and where the operator wants it so (`on_disconnect = "cancel"`), the
upstream call is cut and charged as what it can have cost at most.
"""

import asyncio
from dataclasses import dataclass, field

from gateway.core.errors import UpstreamFailed
from gateway.flow.account import Accounts
from gateway.flow.fetch import Fetch
from gateway.flow.story import Story
from gateway.flow.tasks import spawn


@dataclass(slots=True)
class Orphans:
    """
    Those of one worker.

    Args:
        accounts: concludes their stories.
        finish: whether they are read to their end, where the key does not say.
        most: at once; one more is cut.
        limit_s: seconds after which one is cut.
    """

    accounts: Accounts
    finish: bool
    most: int
    limit_s: float
    reading: set[asyncio.Task[object]] = field(default_factory=set)
    """All that there are, those of earlier configurations too."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self.reading)

    def cut(self) -> None:
        """Read on no more: each is settled on what was seen of it."""
        for task in tuple(self.reading):
            task.cancel()

    def stay_s(self, story: Story, already: int) -> float | None:
        """
        For how long a call may go on that nobody waits for any more, in seconds; None: it is cut.

        Args:
            story: of the call.
            already: how many go on so already.
        """
        principal = story.principal
        wanted = self.finish if principal is None or principal.finish is None else principal.finish
        return self.limit_s if wanted and story.is_kept and already + len(self) < self.most else None

    def adopt(self, fetch: Fetch, story: Story) -> bool:
        """
        Take over a call whose client has left.

        Returns:
            False: it is to be cut, and its story concluded, by the caller.
        """
        if self.stay_s(story, 0) is None:
            return False
        story.is_orphan = True
        task = spawn(f"orphan {story.arrival.id}", self._read(fetch, story))
        self.reading.add(task)
        task.add_done_callback(self.reading.discard)
        return True

    async def _read(self, fetch: Fetch, story: Story) -> None:
        try:
            async with asyncio.timeout(self.limit_s):
                head = await fetch.head()
                if story.meter is None:
                    story.came(head)
                async for chunk in fetch.chunks():
                    story.saw(chunk)
                story.ended()
        except UpstreamFailed as failed:
            story.failed(failed)
        except TimeoutError:
            pass  # Cut below; what was seen of it is what is known.
        finally:
            fetch.leave()
            await self.accounts.conclude(story)
