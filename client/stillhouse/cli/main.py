"""The command `stillhouse`."""

import os
import sys
from typing import Annotated

import typer

from stillhouse.cli import catalogue, datasets, jobs, results, setup, sweep, teachers
from stillhouse.cli.options import Json

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Distil neural networks on a Stillhouse service, and see whether it helped.",
    epilog="Exit codes: 0 done; 1 other failure; 2 wrong input; 3 job failed or resource rejected; "
    "4 key; 5 not found; 6 not possible now; 7 service not reached; 8 checksum; 130 interrupted.",
)
app.add_typer(teachers.app, name="teachers")
app.add_typer(datasets.app, name="datasets")
app.add_typer(jobs.app, name="jobs")
app.add_typer(sweep.app, name="sweep")
for command in (
    results.metrics,
    results.report,
    results.download,
    catalogue.methods,
    catalogue.networks,
    setup.init,
    setup.login,
    setup.logout,
    setup.serve,
):
    app.command()(command)


@app.command()
def doctor(json: Json = False) -> None:
    """Say what is wrong with a set-up, and how to mend it."""
    from stillhouse.cli import doctor as checks

    raise typer.Exit(checks.main(as_json=json))


def _told_version(wanted: bool) -> None:
    if wanted:
        from stillhouse import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def common(
    url: Annotated[
        str | None, typer.Option(help="The service's address, for this command alone.")
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_told_version, help="Print the version."),
    ] = False,
) -> None:
    if url is not None:
        os.environ["STILLHOUSE_URL"] = url


def main() -> None:
    from stillhouse.cli.failures import shielded

    sys.exit(shielded(lambda: app(prog_name="stillhouse")))


if __name__ == "__main__":
    main()
