"""Moving a ledger on the command line, between real stores."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner, Result

from gateway import stores
from gateway.adapters.clock import SystemClock
from gateway.adapters.outbox import FileOutbox
from gateway.adapters.redis.moving import RedisTarget
from gateway.cli.migrate import migrate
from gateway.cli.usage import usage
from gateway.cli.verify import verify
from gateway.core.cachekey import CacheKey
from gateway.core.freshness import Life
from gateway.core.idempotency import KeyName, Once, State
from gateway.core.kept import Due
from gateway.core.limits import parse_limit
from gateway.core.verify import Broken
from gateway.ports import UnfitError
from gateway.settings import Settings
from tests.support.cache import entry, given, kept
from tests.support.config import PAID, load_text, write
from tests.support.ledger import record
from tests.support.redis import Server, redis_server

pytestmark = pytest.mark.timeout(120)
RECORDS = 20
MORE = 5000
TRIES = 5
LEDGER = "{imagegate:default}:ledger:"
CLIENT = '[[team]]\nid = "a"\n[[key]]\nid = "k"\nteam = "a"\nsecret = "sk-client"\n'
BODY = b"a picture" * 1000
clock = SystemClock()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "IMAGEGATE_CONFIG", "IMAGEGATE_MIGRATE_FROM", "IMAGEGATE_MIGRATE_TO"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with redis_server(tmp_path_factory.mktemp("server")) as one:
        yield one


@pytest.fixture
def there(server: Server) -> str:
    server.said("FLUSHALL")
    return server.url


@pytest.fixture
def here(tmp_path: Path) -> str:
    """A ledger whose gateway has ended, with records, limits, keys and an answer."""
    url = f"sqlite:///{tmp_path / 'old'}"
    asyncio.run(fill(at(tmp_path, url)))
    # Its worker is this very process, which lives on: it was last heard of long ago.
    hear_of_nobody(tmp_path / "old")
    return url


def hear_of_nobody(folder: Path) -> None:
    db = apsw.Connection(str(folder / "ledger.db"))
    db.execute("UPDATE worker SET beat = beat - 60000000")
    db.close()


def at(folder: Path, url: str) -> Settings:
    return load_text(folder, PAID + f'[store]\nurl = "{url}"\n')


def once(number: int) -> Once:
    return Once(KeyName(f"i1-{number:064d}"), f"print-{number}")


async def fill(settings: Settings) -> None:
    money, answers = stores.Money(settings), stores.answers_of(settings, clock)
    for number in range(RECORDS):
        await money.ledger.settle(record(number, at=clock.now()))
    await money.ledger.set_limits("org", [parse_limit("$5 per day")])
    for number, state in enumerate((State.KEPT, State.KEPT, State.CUT)):
        await money.keys.begin(once(number), f"igr_{number:08d}")
        await money.keys.conclude(once(number), f"igr_{number:08d}", state)
    life = Life(kept_at=clock.now(), ttl_s=80_000.0)
    assert await kept(answers, BODY, replace(entry("x", len(BODY), life=life), key=once(0).answer))
    await money.ledger.beat()
    await answers.aclose()
    await money.ledger.aclose()


async def fill_more(settings: Settings) -> None:
    ledger = stores.Money(settings).ledger
    more = (record(RECORDS + number, at=clock.now()) for number in range(MORE))
    await asyncio.gather(*(ledger.settle(one) for one in more))
    await ledger.aclose()


def moved(*arguments: str) -> Result:
    return CliRunner().invoke(migrate, list(arguments))


def told(folder: Path, url: str) -> str:
    """What `imagegate usage` says of it."""
    config = write(folder, PAID + f'[store]\nurl = "{url}"\n')
    found = CliRunner().invoke(
        usage, ["--config", str(config), "--by", "team,key,model,day", "--format", "json"]
    )
    assert found.exit_code == 0, found.output
    assert CliRunner().invoke(verify, ["--config", str(config)]).output == "The ledger adds up.\n"
    return found.output


def test_a_ledger_goes_there_and_back_and_says_the_same(tmp_path: Path, here: str, there: str) -> None:
    result = moved("--from", here, "--to", there)

    assert result.exit_code == 0, result.output
    assert result.stdout == (
        f"Moved from {here} to {there}: {RECORDS} records, 0 open calls, 0 counters, 1 limit, 3 keys, 1 answer.\n"
    )
    assert result.stderr.startswith("1 answer of Idempotency-Keys could not be moved")
    assert told(tmp_path, there) == told(tmp_path, here)

    back = f"sqlite:///{tmp_path / 'new'}"
    assert moved("--from", there, "--to", back, "--force").exit_code == 0
    assert told(tmp_path, back) == told(tmp_path, here)


def test_keys_stand_for_what_they_stood_for_and_their_answers_are_there(
    tmp_path: Path, here: str, there: str
) -> None:
    assert moved("--from", here, "--to", there).exit_code == 0

    async def look() -> None:
        settings = at(tmp_path, there)
        money, answers = stores.Money(settings), stores.answers_of(settings, clock)
        found = [await money.keys.begin(once(number), "igr_x") for number in range(3)]
        assert [one and one.state for one in found] == [State.KEPT, State.KEPT, State.CUT]
        [one] = await answers.find(CacheKey(once(0).name))
        assert await given(answers, one) == BODY
        await answers.aclose()
        await money.ledger.aclose()

    asyncio.run(look())


def test_a_place_that_holds_anything_is_left_as_it_is(tmp_path: Path, here: str, there: str) -> None:
    assert moved("--from", here, "--to", there).exit_code == 0
    before = told(tmp_path, there)
    for more in ([], ["--resume"], ["--force"]):
        result = moved("--from", here, "--to", there, *more)
        assert result.exit_code == 1
        assert "is not empty, and is not overwritten" in result.output
    assert told(tmp_path, there) == before


def test_a_ledger_with_a_gateway_on_it_is_moved_only_if_somebody_insists(
    tmp_path: Path, here: str, there: str
) -> None:
    async def beat() -> None:
        ledger = stores.Money(at(tmp_path, here)).ledger
        await ledger.beat()
        await ledger.aclose()

    asyncio.run(beat())
    result = moved("--from", here, "--to", there)
    assert result.exit_code == 1
    assert "1 worker is alive on the source" in result.output
    assert moved("--from", here, "--to", there, "--force").exit_code == 0


def test_a_gateway_that_starts_while_a_ledger_is_moved_is_noticed(
    tmp_path: Path, here: str, there: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = RedisTarget.verify

    async def starts_meanwhile(target: RedisTarget) -> Sequence[Broken]:
        ledger = stores.Money(at(tmp_path, here)).ledger
        await ledger.beat()
        await ledger.aclose()
        return await verified(target)

    monkeypatch.setattr(RedisTarget, "verify", starts_meanwhile)
    result = moved("--from", here, "--to", there)
    assert result.exit_code == 1
    assert "1 worker is alive on the source" in result.output
    with pytest.raises(UnfitError, match="incomplete"):
        stores.Money(at(tmp_path, there))


def test_settlements_that_wait_for_the_ledger_are_not_left_behind(
    tmp_path: Path, here: str, there: str
) -> None:
    async def keep() -> None:
        outbox = FileOutbox(stores.outbox_of(at(tmp_path, here), None), "dead")
        await outbox.keep(Due(record(99), 1))
        await outbox.aclose()

    asyncio.run(keep())
    result = moved("--from", here, "--to", there)
    assert result.exit_code == 1
    assert "1 entry waits in the outbox" in result.output
    assert list(stores.outbox_of(at(tmp_path, here), None).glob("*.wal"))


def test_a_ledger_that_does_not_add_up_is_mended_first(tmp_path: Path, here: str, there: str) -> None:
    db = apsw.Connection(str(tmp_path / "old" / "ledger.db"))
    db.execute("INSERT INTO place VALUES ('org', 'igr_x')")
    db.close()
    result = moved("--from", here, "--to", there)
    assert result.exit_code == 1
    assert "imagegate verify --repair" in result.output


def killed_in_the_middle(folder: Path, server: Server, here: str, there: str) -> None:
    command = [sys.executable, "-m", "gateway", "migrate", "--from", here, "--to", there]
    with (
        subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process,
        closing(server.client()) as look,
    ):
        while not look.hlen(f"{LEDGER}record"):
            assert not process.poll(), "it failed"
        process.kill()


def test_a_migration_that_was_killed_leaves_nothing_that_a_gateway_would_take(
    tmp_path: Path, server: Server, here: str, there: str
) -> None:
    asyncio.run(fill_more(at(tmp_path, here)))
    hear_of_nobody(tmp_path / "old")
    for _ in range(TRIES):  # where it was over before it could be killed
        server.said("FLUSHALL")
        killed_in_the_middle(tmp_path, server, here, there)
        if server.said("HGET", f"{LEDGER}mark", "moving"):
            break
    assert 0 < int(server.said("HLEN", f"{LEDGER}record")) < RECORDS + MORE

    serve = [sys.executable, "-m", "gateway", "serve", "--port", "0"]
    config = write(tmp_path, PAID + CLIENT + f'[ops]\nport = 0\n[store]\nurl = "{there}"\n')
    started = subprocess.run(
        [*serve, "--config", str(config)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode != 0
    assert "is incomplete: a migration to it was not finished" in started.stderr
    again = moved("--from", here, "--to", there)
    assert (again.exit_code, "--resume" in again.output) == (1, True)
    assert moved("--from", here, "--to", there, "--resume").exit_code == 0
    assert told(tmp_path, there) == told(tmp_path, here)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "sqlite:///a"], "Missing option '--to'"),
        (["--from", "sqlite:///a", "--to", "sqlite:///a"], "the same place"),
        (["--from", "ftp://x", "--to", "sqlite:///a"], "names a kind of store that there is none of"),
    ],
)
def test_misuse_is_told_as_such(arguments: list[str], said: str) -> None:
    result = moved(*arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_what_is_not_there_is_not_moved_and_no_password_is_shown(tmp_path: Path) -> None:
    for place in (f"sqlite:///{tmp_path / 'none'}", "redis://u:hunter2@127.0.0.1:1"):
        result = moved("--from", place, "--to", f"sqlite:///{tmp_path / 'new'}")
        assert result.exit_code == 1
        assert "hunter2" not in result.output
    assert not (tmp_path / "new").exists()


def test_the_help_shows_an_example() -> None:
    assert (
        "imagegate migrate --config imagegate.toml --from sqlite:///data --to redis://"
        in moved("--help").output
    )
