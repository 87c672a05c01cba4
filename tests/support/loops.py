"""The event loops the gateway may run on."""

import asyncio
from collections.abc import Callable, Mapping

import uvloop

Loops = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]
ONE: Loops = {"asyncio": asyncio.new_event_loop}
BOTH: Loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
