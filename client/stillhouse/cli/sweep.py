"""stillhouse sweep ...: a grid over any fields of a job."""

from pathlib import Path
from typing import Annotated

import typer

from stillhouse.cli.options import All, Json, Limit

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
        str | None, typer.Option(help="To find it by; by default that of the job.")
    ] = None,
    max_jobs: Annotated[int, typer.Option(help="A larger grid is refused.", min=1)] = 100,
    wait: Annotated[bool, typer.Option(help="Until all have ended, and compare them.")] = True,
    json: Json = False,
) -> None:
    """Submit a job for every combination of values. They share the teachers' pass, and the baseline
    where it is the same."""
    from stillhouse.cli import output, sweeping
    from stillhouse.cli.session import connected

    with connected() as still:
        sweep = sweeping.submitted(still, file, grid, name, max_jobs)
        output.aside().print(f"sweep {sweep.id}: stillhouse sweep show {sweep.id}")
        if wait:
            try:
                sweeping.wait(sweep, quiet=json)
            except KeyboardInterrupt:
                output.aside().print(f"\nIts jobs go on: stillhouse sweep show {sweep.id}")
                raise typer.Exit(130) from None
        sweeping.show(sweep, as_json=json)


@app.command()
def show(sweep: Annotated[str, typer.Argument(help="Its id or name.")], json: Json = False) -> None:
    """Compare the jobs of a sweep, best student first."""
    from stillhouse.cli import sweeping
    from stillhouse.cli.session import connected, sweep_of

    with connected() as still:
        sweeping.show(sweep_of(still, sweep), as_json=json)


@app.command("list")
def list_(limit: Limit = 20, everything: All = False, json: Json = False) -> None:
    """The sweeps, newest first."""
    from stillhouse.cli import sweeping
    from stillhouse.cli.session import connected

    with connected() as still:
        sweeping.list_all(still, limit, everything, as_json=json)


@app.command()
def cancel(sweep: Annotated[str, typer.Argument(help="Its id or name.")]) -> None:
    """Cancel those of its jobs that have not ended."""
    from stillhouse.cli import output, sweeping
    from stillhouse.cli.session import connected, sweep_of

    with connected() as still:
        now = sweep_of(still, sweep, newest=False).cancel()
        output.console().print(f"{now.id}: {sweeping.counted(now)}", markup=False)
