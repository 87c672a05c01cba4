"""
The configuration of a gateway to try: one team and one key, the same for everybody.

What stands around it (listeners, store, who starts the sandbox) is said by those who start it: run.py and pair.py.
"""

from typing import Final

KEY: Final = "sk-demo"
KEY_ID: Final = "demo"

OPENAI: Final = """\
[upstream]
api_key = "env:OPENAI_API_KEY"
"""
"""The upstream is OpenAI, paid by whoever starts the gateway."""


def sandbox_at(url: str) -> str:
    """The upstream is a sandbox; `url` without `/v1`."""
    return f"""\
[upstream]
base_url = "{url}/v1"
api_key = "sk-sandbox"
sandbox = true
"""


def configuration(*, upstream: str, head: str = "", limit: str | None = None) -> str:
    """
    The text of the file.

    Args:
        upstream: its section.
        head: comments and further sections, above it.
        limit: what the key may spend, such as `$5 per day`; None for no limit.
    """
    limits = f'limits = ["{limit}"]\n' if limit is not None else ""
    return f"""\
{head}
{upstream}
[[team]]
id = "{KEY_ID}"

[[key]]
id = "{KEY_ID}"
team = "{KEY_ID}"
secret = "{KEY}"
{limits}"""
