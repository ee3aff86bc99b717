"""stillhouse login, logout, init, serve: getting started."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from stillhouse.cli.options import Json

KEY_SHAPE = "sh_"


def login(
    url: Annotated[
        str | None, typer.Option(help="The service's address; by default the one in use.")
    ] = None,
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the key from standard input.")
    ] = False,
    no_key: Annotated[
        bool, typer.Option("--no-key", help="For a service that asks for none.")
    ] = False,
    json: Json = False,
) -> None:
    """Remember a service, and the key that it takes (in a file for you alone)."""
    from stillhouse import Stillhouse, config, errors
    from stillhouse.cli import output
    from stillhouse.cli.failures import Mistaken
    from stillhouse.cli.session import RETRIES

    where = config.read(url).url
    key = None
    if not no_key:
        if key_stdin or not sys.stdin.isatty():
            key = sys.stdin.readline().strip()
        else:
            key = typer.prompt(f"Key for {where}", hide_input=True, err=True).strip()
        if not key.startswith(KEY_SHAPE):
            raise Mistaken(f"A key begins with {KEY_SHAPE}. Nothing was stored.")
    with Stillhouse(where, key or "", retries=RETRIES) as still:
        try:
            next(still.jobs.list(page_size=1), None)
        except errors.Unauthorized as error:
            error.hint = (
                "This service asks for a key: leave --no-key out."
                if no_key
                else "Nothing was stored. Ask its admin for a key of this service."
            )
            raise
    path = config.store(where, key)
    if json:
        output.emit({"url": where, "stored": str(path)})
    else:
        typer.echo(f"logged in to {where} ({path})", err=True)


def logout(
    url: Annotated[str | None, typer.Option(help="By default the service in use.")] = None,
    json: Json = False,
) -> None:
    """Forget the stored key of a service."""
    from stillhouse import config
    from stillhouse.cli import output

    where = config.read(url).url
    known = config.forget(where)
    if json:
        output.emit({"url": where, "forgotten": known})
        return
    typer.echo(f"forgot the key of {where}" if known else f"no key of {where} is stored", err=True)


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("job.yaml"),
    supervised: Annotated[
        bool, typer.Option("--teacher", help="A job that trains a teacher, to begin with.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over another file.")] = False,
    json: Json = False,
) -> None:
    """Write a job file with every usual field and what it means."""
    from importlib.resources import files

    from stillhouse.cli import output
    from stillhouse.cli.failures import Mistaken

    name = "teacher.yaml" if supervised else "job.yaml"
    text = (files("stillhouse.cli") / name).read_text()
    if path.exists() and not force:
        raise Mistaken(f"{path} is there already: --force replaces it.")
    path.write_text(text)
    if json:
        output.emit({"path": str(path)})
    else:
        typer.echo(f"wrote {path}. Next: stillhouse jobs submit {path} --watch", err=True)


def serve() -> None:
    """Start the service on this machine, where it is installed (Ctrl-C stops it)."""
    import os
    from importlib import metadata
    from importlib.util import find_spec

    from stillhouse.cli.failures import Mistaken

    try:
        metadata.distribution("stillhouse")
        there = find_spec("app.serve") is not None
    except (metadata.PackageNotFoundError, ModuleNotFoundError):
        there = False
    if not there:
        raise Mistaken(
            "The service is not installed here; this is its client alone.\n"
            "In a checkout of the project `make serve` installs and starts it, or:\n"
            "pip install '.[api,worker,embedded]' && stillhouse serve"
        )
    os.execv(sys.executable, [sys.executable, "-m", "app.serve"])  # noqa: S606
