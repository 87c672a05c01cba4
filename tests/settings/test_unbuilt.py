import pytest

from gateway.settings import UNBUILT, setting_names, waits_for


def test_every_line_of_the_table_of_unbuilt_settings_is_about_a_setting() -> None:
    names = setting_names()
    sections = {name.partition(".")[0] for name in names}

    assert all(key.partition("=")[0] in {*names, *sections} for key in UNBUILT)
    assert all(waits_for(key.partition("=")[0]) == part for key, part in UNBUILT.items())


def test_a_setting_that_is_honoured_waits_for_nothing() -> None:
    with pytest.raises(LookupError, match="waits for nothing"):
        waits_for("server.port")
