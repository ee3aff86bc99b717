"""The table of settings in the README: `python -m app.reference` writes it anew.

A test compares, so that no setting is left out and no default goes stale.
"""

import re
from pathlib import Path
from typing import Any

from app.settings import Settings

README = Path(__file__).parents[1] / "README.md"
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
