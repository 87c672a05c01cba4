"""Orders reach the loop that attends to them, from any thread, the last one for sure."""

import asyncio
import threading

from gateway.catalog import load as load_catalog
from gateway.core.catalog import Catalog
from gateway.orders import Orders
from gateway.settings import Settings, load

CATALOG = load_catalog()


def settings(retries: int) -> Settings:
    return load(None, {"OPENAI_API_KEY": "sk", "IMAGEGATE_UPSTREAM__RETRIES": str(retries)})


async def test_what_another_thread_says_is_done_in_the_loop() -> None:
    orders, done = Orders(), asyncio.Event()
    heard: list[tuple[int, threading.Thread]] = []

    def obey(wanted: Settings, _catalog: Catalog) -> None:
        heard.append((wanted.upstream.retries, threading.current_thread()))
        done.set()

    orders.attend(obey)
    thread = threading.Thread(target=orders.reload, args=(settings(3), CATALOG))
    thread.start()
    await done.wait()
    thread.join()
    assert heard == [(3, threading.main_thread())]


async def test_what_was_said_before_anybody_listened_waits_and_the_last_one_counts() -> None:
    orders = Orders()
    heard: list[int] = []
    orders.reload(settings(3), CATALOG)
    orders.reload(settings(4), CATALOG)
    orders.attend(lambda wanted, _: heard.append(wanted.upstream.retries))
    assert heard == [4]


def test_a_loop_that_has_ended_hears_nothing_and_harms_nobody() -> None:
    orders = Orders()

    async def attend() -> None:
        orders.attend(lambda *_: None)

    asyncio.run(attend())
    orders.reload(settings(3), CATALOG)
