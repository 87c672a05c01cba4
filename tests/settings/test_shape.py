"""The reference in `config/` and the operators' page know every setting, with its default."""

import re
import tomllib
from pathlib import Path

import pytest

from gateway import resources
from gateway.core.limits import parse_limit
from gateway.core.routes import NAMES
from gateway.settings import SMALLEST_CONFIG, AllowSettings, StoreAddress, default_of, load, setting_names
from gateway.settings.shape import node_at, variables

REFERENCE = resources.text("imagegate.toml")
PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def written(default: object) -> object:
    """A default as TOML would give it."""
    match default:
        case tuple():
            return list(default)
        case AllowSettings():
            return default.model_dump(exclude_none=True)
        case StoreAddress():
            return str(default)
        case _:
            return default


def reference_lines() -> list[tuple[str, str, bool]]:
    """Every `name = value` of the reference: dotted name, TOML value, whether it is active."""
    found, section = [], ""
    for line in REFERENCE.splitlines():
        if header := re.fullmatch(r"#?\[+([a-z.]+)\]+", line):
            section = header[1]
        elif setting := re.fullmatch(r"(#?)([a-z0-9_]+) = (.+)", line):
            found.append((f"{section}.{setting[2]}", setting[3], not setting[1]))
    return found


def test_the_reference_has_every_setting_once_and_nothing_else() -> None:
    names = [name for name, _, _ in reference_lines()]

    assert sorted(names) == sorted(setting_names())


def test_the_reference_shows_each_default() -> None:
    for name, value, active in reference_lines():
        default = default_of(name)
        shared = name.split(".")[0] not in {
            "team",
            "key",
        }  # those show an example where they have no need of a default
        if default is not None and shared:
            assert not active, name
            assert tomllib.loads(f"x = {value}")["x"] == written(default), name


def test_the_reference_loads_as_it_stands(tmp_path: Path) -> None:
    read = load(resources.path("imagegate.toml"), {"OPENAI_API_KEY": "sk-up"})

    assert [team.id for team in read.teams] == ["studio"]
    assert [key.id for key in read.keys] == ["studio-1"]
    assert read.unbuilt() == ()


def test_the_reference_loads_with_every_line_in_force(tmp_path: Path) -> None:
    """But for the pool of credentials and the digest: their place is taken by api_key and the secret."""
    lines = [re.sub(r"^#(?=[a-z0-9_]+ = |\[)", "", line) for line in REFERENCE.splitlines()]
    pool = lines.index("[[upstream.credential]]")
    lines = lines[:pool] + lines[lines.index("[store]") :]
    file = tmp_path / "imagegate.toml"
    file.write_text("\n".join(line for line in lines if not line.startswith("secret_sha256")))
    for name in ("ca.pem", "models.toml"):
        (tmp_path / name).write_text("")
    (tmp_path / "pepper.txt").write_text("pepper\n")

    read = load(file, {"OPENAI_API_KEY": "sk", "STUDIO_KEY": "sk-s", "IMAGEGATE_ADMIN_TOKEN": "token"})

    assert read.keys[0].limits[2] == parse_limit("$10 per day soft")
    assert read.upstream.ca_file == tmp_path / "ca.pem"


def test_the_operators_page_has_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9_.]+)` \| ([^|]+) \|", PAGE, re.MULTILINE))

    for name in setting_names():
        node = node_at(
            tuple(name.split("."))
            if name.count(".") == 1
            else ("upstream", "credential", 0, name.split(".")[2])
        )
        assert name in rows
        if name.split(".")[0] in {"team", "key"}:
            continue
        if node is not None and node.field is not None and node.field.is_required():
            assert rows[name] == "required", name
        elif default_of(name) is None:
            assert rows[name] == "–", name
        else:
            assert tomllib.loads(f"x = {rows[name].strip('`')}")["x"] == written(default_of(name)), name


def test_the_operators_page_knows_the_parts_of_allow_and_the_routes() -> None:
    assert all(f"`{name}`" in PAGE for name in AllowSettings.model_fields)
    assert all(f"`{name}`" in PAGE for name in NAMES)
    assert SMALLEST_CONFIG in PAGE


def test_the_limits_on_the_operators_page_are_limits() -> None:
    [line] = re.findall(r"^limits = .+$", PAGE, re.MULTILINE)
    quoted = ["$100 total", "$400 per month soft", "200,000 tokens per day", "1 image a minute"]

    assert all(parse_limit(text) for text in tomllib.loads(line)["limits"] + quoted)
    assert all(f"`{text}`" in PAGE for text in quoted[:2])


@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("IMAGEGATE_SERVER__PORT", ("server", "port")),
        ("IMAGEGATE_UPSTREAM__CREDENTIAL", ("upstream", "credential")),
        ("IMAGEGATE_TEAM", ("team",)),
        ("IMAGEGATE_KEY", ("key",)),
        ("IMAGEGATE_ORG__ALLOW", ("org", "allow")),
        ("IMAGEGATE_ORG__ALLOW__MAX_N", ("org", "allow", "max_n")),
    ],
)
def test_each_setting_has_its_variable(variable: str, place: tuple[str, ...]) -> None:
    assert variables()[variable] == place


def test_no_place_is_invented() -> None:
    assert node_at(("server", "port", "x")) is None
    assert node_at(("server", 0)) is None
    assert node_at(("team", 0, "limits", 0)) is not None
