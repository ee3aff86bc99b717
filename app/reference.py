"""What is made from the code: the table of settings in the README, and docs/openapi.json.

`make reference` writes both anew. Tests compare, so that no setting is left out, no default goes
stale, and each change of the interface is seen by whoever reviews it.
"""

import json
import re
from pathlib import Path
from typing import Any

from app.main import create_app
from app.settings import Settings

HERE = Path(__file__).parents[1]
README = HERE / "README.md"
OPENAPI = HERE / "docs" / "openapi.json"
BEGIN, END = "<!-- settings, from app/settings.py -->\n", "<!-- end of settings -->\n"
UNITS = ((2**30, "GiB"), (2**20, "MiB"))


def settings_table() -> str:
    """Every setting, its default and its meaning, in Markdown."""
    rows = ["| variable | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        default = _shown(name, field.default)
        rows.append(f"| `STILLHOUSE_{name.upper()}` | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def with_table(text: str) -> str:
    """The page with the table as it should be. Raises ValueError where it has no place for one."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("no place for the settings")
    return before + begin + settings_table() + end + after


def interface() -> str:
    """The OpenAPI document of a service that asks for keys, always spelled the same."""
    document = create_app(Settings(auth="on")).openapi()
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _shown(name: str, default: Any) -> str:
    if default is None or default == ():
        return ""
    if name.endswith("bytes"):
        for size, unit in UNITS:
            if default and default % size == 0:
                return f"{default // size} {unit}"
    if isinstance(default, float):
        default = f"{default:g}" if default < 1e6 else f"{default:.0f}"
    return f"`{default}`" if re.search(r"[a-z.]", str(default)) else f"{default}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
    OPENAPI.write_text(interface())
