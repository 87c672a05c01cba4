import tempfile
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.adapters.clock import SystemClock
from gateway.adapters.scratch import Scratch
from gateway.catalog import load as load_catalog
from gateway.counting import Counting, scratch_of
from gateway.ports import Ledger, UnfitError
from gateway.settings import Settings, load
from tests.support.gateway import ListJournal


def settings(folder: Path, text: str) -> Settings:
    file = folder / "gateway.toml"
    file.write_text(text)
    return load(file, {"OPENAI_API_KEY": "sk"})


def test_several_workers_share_a_folder_and_one_needs_none(tmp_path: Path) -> None:
    assert scratch_of(settings(tmp_path, ""), tmp_path) is None
    scratch = scratch_of(settings(tmp_path, "[server]\nworkers = 2\n"), tmp_path)
    assert scratch is not None
    assert scratch.path.parent == tmp_path.resolve()
    scratch.remove()


def test_where_nothing_can_be_written_the_gateway_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "nor-here"))
    several = settings(tmp_path, "[server]\nworkers = 2\n")
    with pytest.raises(UnfitError, match=r"neither .*/nowhere nor .*/nor-here .* metrics\.enabled = false"):
        scratch_of(several, tmp_path / "nowhere")


def test_without_metrics_nothing_stands_in_between(tmp_path: Path) -> None:
    off = settings(tmp_path, "[server]\nworkers = 2\n[metrics]\nenabled = false\n")
    assert scratch_of(off, tmp_path / "nowhere") is None
    counts = Counting(off, load_catalog(), SystemClock(), None)
    journal, port = ListJournal(), object()
    assert counts.journal(journal) is journal
    assert counts.ledger(cast("Ledger", port)) is port
    assert counts.watched(port, "cache") is port

    async def public(*_: object) -> None:
        pass

    assert counts.inside(public) is public
    nothing: tuple[Any, Any, Any, Any] = (None, None, None, None)
    assert counts.endpoint(*nothing) is None
    assert counts.caring() == []


def test_a_folder_that_is_not_held_yet_is_left_alone(tmp_path: Path) -> None:
    """Somebody else is about to make it."""
    (tmp_path / "metrics-new").mkdir()
    (tmp_path / "metrics-new" / "made").touch()
    scratch = Scratch.made([tmp_path])
    assert scratch is not None
    assert (tmp_path / "metrics-new").is_dir()
    scratch.remove()
