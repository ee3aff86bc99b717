"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the id alone.")]
JobRef = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, its name, or `last`.")]
Keys = Annotated[
    str | None, typer.Option(help="Curves by commas, such as train/loss,validation/accuracy.")
]
Limit = Annotated[int, typer.Option(help="Most of them.", min=1)]
All = Annotated[bool, typer.Option("--all", help="All of them, however many.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write it.")]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Again for several.")
]


def pairs(given: list[str] | None, what: str, between: str = "=:") -> dict[str, str]:
    """`key=value` (or, as in addresses, `key:value`). Raises BadParameter."""
    found = {}
    for one in given or ():
        key, equals, value = one.partition("=" if "=" in one else between[-1])
        if not equals or not key:
            raise typer.BadParameter(f"{one!r} should be KEY=VALUE", param_hint=what)
        found[key] = value
    return found
