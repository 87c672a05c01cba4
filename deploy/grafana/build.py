"""The dashboards, as files for Grafana: `python -m deploy.grafana.build` writes them beside this one."""

from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.health import health
from deploy.grafana.money import money
from deploy.grafana.traffic import traffic

FOLDER = Path(__file__).parent


def files() -> Iterator[tuple[Path, str]]:
    """Each file and what is in it."""
    made = {"money": money(), "traffic": traffic(), "health": health()}
    for name, dashboard in made.items():
        yield (
            FOLDER / f"{name}.json",
            JSONEncoder(sort_keys=True, indent=2).encode(dashboard.build()) + "\n",
        )


if __name__ == "__main__":
    for path, text in files():
        path.write_text(text, encoding="utf-8")
