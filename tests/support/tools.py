"""Programs that some tests need and not every machine has."""

import os
from typing import NoReturn

import pytest


def missing(what: str, remedy: str) -> NoReturn:
    """
    Skip a test for want of a program; where everything is to be there (`IMAGEGATE_TESTS_NEED_ALL=1`), fail.

    Args:
        what: the program.
        remedy: how to get it.
    """
    message = f"{what} is not there: {remedy}"
    if os.environ.get("IMAGEGATE_TESTS_NEED_ALL") == "1":
        pytest.fail(message, pytrace=False)
    # Not every machine has every program; where all are to be there, this line is not reached.
    pytest.skip(message)
