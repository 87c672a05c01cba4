import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import orjson
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from gateway.adapters.sqlite.cache import SqliteCache
from gateway.cli.cache import BAR, bar, cache, size_text, table
from gateway.core.entry import CacheStats, Share
from tests.support.cache import body_of, entry, kept, key_of
from tests.support.config import PAID, write
from tests.support.ledger import NOON

MAX_BYTES = 1_000_000
CONFIG = (
    PAID
    + f"""
[cache]
max_bytes = {MAX_BYTES}
max_entry_bytes = 100000
[store]
url = "sqlite:///{{folder}}"
"""
)
SIZE = 40_000


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "IMAGEGATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


async def fill(store: SqliteCache) -> None:
    """Two entries of design, two of film with one body."""
    await kept(store, body_of(1, SIZE), entry(1, SIZE))
    await kept(store, body_of(2, SIZE), entry(2, SIZE, model="gpt-5.4", response_id="resp_2"))
    for name, model in ((3, "gpt-image-2"), (4, "gpt-image-1")):
        await kept(store, body_of(3, SIZE), entry(name, SIZE, model=model, team="film", key="film-1"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    async def made() -> None:
        store = SqliteCache.at(tmp_path / "data", lambda: NOON, max_bytes=MAX_BYTES)
        await fill(store)
        await store.aclose()

    asyncio.run(made())
    return write(tmp_path, CONFIG.format(folder=tmp_path / "data"))


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A configuration whose gateway never ran."""
    return write(tmp_path, CONFIG.format(folder=tmp_path / "none"))


def run(config: Path, command: str, *arguments: str, says: str | None = None) -> Result:
    return CliRunner().invoke(cache, [command, "--config", str(config), *arguments], input=says)


def as_json(config: Path) -> Any:
    result = run(config, "stats", "--format", "json")
    assert result.exit_code == 0, result.output
    return orjson.loads(result.stdout)


def left(config: Path) -> list[int]:
    async def found() -> list[int]:
        store = SqliteCache(config.parent / "data", lambda: NOON, max_bytes=MAX_BYTES)
        try:
            return [name for name in range(1, 5) if await store.find(key_of(name))]
        finally:
            await store.aclose()

    return asyncio.run(found())


# stats


def test_the_table_shows_all_of_it_and_each_team(config: Path) -> None:
    result = run(config, "stats")
    assert result.exit_code == 0, result.output
    head, _, whole, *teams = [" ".join(line.split()) for line in result.stdout.splitlines() if line.strip()]
    assert head == "team entries bodies size of 976.5 KiB"
    taken = as_json(config)["bytes"]
    assert whole == f"all 4 3 {size_text(taken)} ██··················"
    assert teams == ["design 2 78.1 KiB █···················", "film 2 78.1 KiB █···················"]


def test_json_has_the_shape_of_the_admin_api(config: Path) -> None:
    found = as_json(config)
    assert 3 * SIZE < found.pop("bytes") < MAX_BYTES
    assert found == {
        "object": "cache",
        "entries": 4,
        "bodies": 3,
        "max_bytes": MAX_BYTES,
        "teams": [
            {"team": "design", "entries": 2, "bytes": 2 * SIZE},
            {"team": "film", "entries": 2, "bytes": 2 * SIZE},
        ],
    }


def test_a_cache_with_a_url_of_its_own_is_looked_for_there(config: Path, empty: Path) -> None:
    del empty
    text = CONFIG.format(folder=config.parent / "none")
    own = text.replace("[cache]\n", f'[cache]\nurl = "sqlite:///{config.parent / "data"}"\n')
    assert as_json(write(config.parent, own))["entries"] == 4


def test_where_nothing_was_kept_yet_it_says_so_and_makes_nothing(empty: Path) -> None:
    result = run(empty, "stats")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "no gateway has kept an answer there yet" in result.stdout
    assert as_json(empty) == {
        "object": "cache",
        "entries": 0,
        "bodies": 0,
        "bytes": 0,
        "max_bytes": MAX_BYTES,
        "teams": [],
    }
    assert not (empty.parent / "none").exists()


def test_the_names_of_teams_are_shown_as_they_are() -> None:
    shown = io.StringIO()
    stats = CacheStats(max_bytes=10, teams={"[red]a[/x]": Share(1234, 3)})
    Console(file=shown, width=100).print(table(stats))
    last = shown.getvalue().split("\n")[-3]
    assert " ".join(last.split()) == "[red]a[/x] 1 234 3 B ██████··············"


# purge


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--key", "film-1"], [1, 2]),
        (["--team", "design"], [3, 4]),
        (["--model", "gpt-image-2"], [2, 4]),
        (["--response", "resp_2"], [1, 3, 4]),
        (["--team", "film", "--model", "gpt-image-1"], [1, 2, 3]),
        (["--team", "nobody"], [1, 2, 3, 4]),
        (["--all"], []),
    ],
    ids=["key", "team", "model", "response", "narrowed", "of nobody", "all"],
)
def test_a_purge_forgets_what_all_options_name_and_says_how_many(
    config: Path, arguments: list[str], names: list[int]
) -> None:
    result = run(config, "purge", "--yes", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    gone = 4 - len(names)
    what = "everything" if arguments == ["--all"] else " ".join(arguments)
    assert result.stdout == f"{gone} {'entry' if gone == 1 else 'entries'} purged ({what}).\n"
    assert left(config) == names


def test_a_purge_gives_the_disk_its_room_back(config: Path) -> None:
    run(config, "purge", "--all", "--yes")
    files = [path for path in (config.parent / "data" / "blobs").rglob("*") if path.is_file()]
    assert files == []
    assert as_json(config)["bytes"] == 0


@pytest.mark.parametrize(("says", "names"), [("y\n", [3, 4]), ("n\n", [1, 2, 3, 4]), ("", [1, 2, 3, 4])])
def test_a_purge_asks_and_takes_only_a_yes_for_one(config: Path, says: str, names: list[int]) -> None:
    result = run(config, "purge", "--team", "design", says=says)
    assert f"Forget what is kept in {config.parent / 'data'} (--team design)?" in result.stderr
    assert (result.exit_code, left(config)) == (0 if says == "y\n" else 1, names)
    assert ("Nothing was forgotten" in result.stderr) == (says != "y\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Say what to forget: --key, --team, --model, --response, or --all."),
        (["--yes"], "Say what to forget"),
        (["--all", "--team", "design"], "--all is everything: leave out --team, or --all."),
        (["--team", ""], "--team is empty."),
    ],
    ids=["nothing", "nothing with a yes", "all and some", "an empty name"],
)
def test_a_slip_is_misuse_and_forgets_nothing(config: Path, arguments: list[str], told: str) -> None:
    result = run(config, "purge", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert left(config) == [1, 2, 3, 4]


def test_where_nothing_was_kept_yet_there_is_nothing_to_purge(empty: Path) -> None:
    result = run(empty, "purge", "--all")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "no gateway has kept an answer there yet" in result.stdout
    assert not (empty.parent / "none").exists()


def test_a_gateway_that_runs_finds_nothing_any_more_and_keeps_anew(config: Path) -> None:
    async def through() -> None:
        running = SqliteCache.at(config.parent / "data", lambda: NOON, max_bytes=MAX_BYTES)
        try:
            (one,) = await running.find(key_of(1))
            given = await running.open(one)
            assert given is not None
            result = await asyncio.to_thread(run, config, "purge", "--all", "--yes")
            assert result.exit_code == 0, result.output
            assert b"".join([piece async for piece in given.chunks()]) == body_of(1, SIZE)
            given.close()
            assert await running.find(key_of(1)) == ()
            assert await kept(running, body_of(1, SIZE), entry(1, SIZE))
            assert len(await running.find(key_of(1))) == 1
        finally:
            await running.aclose()

    asyncio.run(through())


# What goes wrong


def damaged(config: Path) -> None:
    (config.parent / "data" / "cache.db").write_bytes(b"no database at all" * 1000)


def of_another_version(config: Path) -> None:
    db = apsw.Connection(str(config.parent / "data" / "cache.db"))
    db.pragma("user_version", 99)
    db.close()


@pytest.mark.parametrize("harm", [damaged, of_another_version])
@pytest.mark.parametrize("command", [["stats"], ["purge", "--all", "--yes"]], ids=["stats", "purge"])
def test_what_cannot_be_used_is_told_and_left_as_it_is(
    config: Path, harm: Callable[[Path], None], command: list[str]
) -> None:
    harm(config)
    result = run(config, *command)
    assert result.exit_code == 1
    assert f"The cache in {config.parent / 'data'} cannot be used: " in result.stderr
    assert not (config.parent / "data" / "cache.db.damaged").exists()


def test_a_cache_that_is_not_there_is_told(tmp_path: Path) -> None:
    config = write(tmp_path, PAID + '[cache]\nurl = "redis://:secret@127.0.0.1:9/0"\n')
    result = run(config, "stats")
    assert result.exit_code == 1
    assert "The cache in redis://:***@127.0.0.1:9/0 cannot be used" in result.stderr


# Looks


@pytest.mark.parametrize(
    ("taken", "signs"),
    [(0, 0), (1, 1), (99, 1), (500, 10), (999, BAR - 1), (1000, BAR), (1500, BAR)],
)
def test_a_bar_is_empty_only_if_nothing_is_taken_and_full_only_if_nothing_is_left(
    taken: int, signs: int
) -> None:
    assert bar(taken, 1000).plain == "█" * signs + "·" * (BAR - signs)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        ((1 << 20) - 1, "1023.9 KiB"),
        (1 << 20, "1.0 MiB"),
        (3 << 19, "1.5 MiB"),
        (2_147_483_648, "2.0 GiB"),
        (1 << 40, "1.0 TiB"),
    ],
)
def test_sizes_are_as_people_read_them(size: int, text: str) -> None:
    assert size_text(size) == text
