"""
How a request ends that does not end well: what the client is told, or that its connection is cut.

Before the head of an answer is out, be it that it has not come or that it is held (relay.py), there is an error in
OpenAI's shape; after it, a cut.
"""

from gateway.core.errors import Code, Refusal, UpstreamFailed
from gateway.core.record import Outcome
from gateway.flow.exchange import Client
from gateway.flow.story import Story


async def refuse(refusal: Refusal, client: Client, story: Story) -> None:
    """We said no."""
    story.refused(refusal)
    await client.refuse(refusal, story.arrival.id)


async def fail(failed: UpstreamFailed, client: Client, story: Story) -> None:
    """The upstream gave no answer, or half of one."""
    story.failed(failed)
    await _tell(failed.refusal(), Outcome.FAILED, client, story)


async def stop(client: Client, story: Story) -> None:
    """The gateway stops and has waited long enough."""
    message = "The gateway is stopping and could not wait for this request any longer. Please try again."
    refusal = Refusal(Code.SHUTTING_DOWN, message, retry=not story.has_set_out, retry_after_ms=1000)
    await _tell(refusal, Outcome.CANCELLED, client, story)


async def apologise(client: Client, story: Story) -> None:
    """The fault is ours."""
    message = f"The gateway had an error while processing your request ({story.arrival.id})."
    await _tell(Refusal(Code.INTERNAL_ERROR, message), Outcome.FAILED, client, story)


async def _tell(refusal: Refusal, outcome: Outcome, client: Client, story: Story) -> None:
    if story.status is None:
        story.refused(refusal, story.outcome or outcome)
        await client.refuse(refusal, story.arrival.id)
        return
    story.outcome = story.outcome or outcome
    story.code = refusal.code.code
    client.cut()
