import logging
from collections.abc import Iterator

import orjson
import pytest

from gateway.adapters import log


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave the logging of the test run as it was."""
    root = logging.getLogger()
    named = [root, *(logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "python_multipart"))]
    before = [(one, one.handlers[:], one.level, one.filters[:]) for one in named]
    yield
    for one, handlers, level, filters in before:
        one.handlers[:], one.filters[:] = handlers, filters
        one.setLevel(level)


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    logging.getLogger("imagegate.x").warning("two\nlines %s", 1)
    (line,) = capsys.readouterr().err.splitlines()
    entry = orjson.loads(line)
    assert (entry["level"], entry["logger"], entry["message"]) == ("warning", "imagegate.x", "two\nlines 1")


def test_a_trace_goes_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "auto")
    try:
        dict[str, int]()["here"]
    except KeyError:
        logging.getLogger("imagegate.x").exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "KeyError: 'here'" in orjson.loads(line)["trace"]


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("warning", "text")
    logging.getLogger("imagegate.x").info("unheard")
    logging.getLogger("imagegate.x").warning("heard")
    assert capsys.readouterr().err.endswith("WARNING imagegate.x: heard\n")


def test_a_line_with_fields_is_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    logging.getLogger("imagegate.x").info("for people", extra={"fields": {"at": "then", "status": 200}})
    (line,) = capsys.readouterr().err.splitlines()
    assert orjson.loads(line) == {"at": "then", "level": "info", "logger": "imagegate.x", "status": 200}


def test_what_a_form_readers_says_of_a_body_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("debug", "text")
    logging.getLogger("python_multipart.multipart").warning("Found invalid character 'secret'")
    assert capsys.readouterr().err == ""
