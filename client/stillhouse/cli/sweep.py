"""stillhouse sweep ...: a grid over any fields of a job."""

from pathlib import Path
from typing import Annotated

import typer

from stillhouse.cli.options import Json

app = typer.Typer(
    no_args_is_help=True, help="A job for each point of a grid, and the best of them."
)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="A job file, as for `jobs submit`.")],
    grid: Annotated[
        list[str],
        typer.Option(
            metavar="FIELD=VALUES", help="Such as method.temperature=2,4,8; again for more fields."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="To find it by; by default that of the file.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Until all have ended, and compare them.")] = True,
    json: Json = False,
) -> None:
    """Submit a job for every combination of values. The teachers' pass is shared by all."""
    from stillhouse.cli import output, sweeping
    from stillhouse.cli.session import connected

    with connected() as still:
        sweep = sweeping.submitted(still, file, grid, name)
        output.aside().print(f"sweep {sweep}: stillhouse sweep show {sweep}")
        if wait:
            try:
                sweeping.wait(still, sweep, quiet=json)
            except KeyboardInterrupt:
                output.aside().print(f"\nIts jobs go on: stillhouse sweep show {sweep}")
                raise typer.Exit(130) from None
        sweeping.show(still, sweep, as_json=json)


@app.command()
def show(name: Annotated[str, typer.Argument(help="Of the sweep.")], json: Json = False) -> None:
    """Compare the jobs of a sweep, best student first."""
    from stillhouse.cli import sweeping
    from stillhouse.cli.session import connected

    with connected() as still:
        sweeping.show(still, name, as_json=json)
