"""Copies of a whole service, and their way back: `python -m app.backup --help`.

The database is copied first and the bytes after it: rows never name bytes that are not there, and
bytes that nothing refers to any more stay for `STILLHOUSE_BLOB_GRACE_S`, which is longer than the
copy should take. Bytes are named by their hash, so a second copy into the same folder brings only
what is new, and every one is checked on its way.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import create_engine, inspect, make_url
from sqlalchemy.exc import OperationalError

from app import __version__
from app.migrate import unreachable, upgrade
from app.settings import Settings, get_settings, usable_home
from app.storage import DirectoryStorage, Storage, open_storage

MANIFEST = "backup.json"
DUMPS = {"sqlite": "database.db", "postgresql": "database.dump"}

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Backup and restore of database and stored bytes. The settings say of which service.",
)
Folder = Annotated[Path, typer.Argument(help="The folder that holds the copy.")]


class CannotCopy(Exception):
    """Said to the person at the terminal, with what to do about it."""


@cli.command("save")
def save_command(folder: Folder) -> None:
    """Copies the service into a folder; it may run meanwhile. Again, it brings what is new."""
    _told(lambda: save(get_settings(), folder))


@cli.command("restore")
def restore_command(folder: Folder) -> None:
    """Makes a service from a copy, in an empty database, and brings it to this version. Start the
    API and workers afterwards."""
    _told(lambda: restore(get_settings(), folder))


def save(settings: Settings, folder: Path) -> str:
    """What was done, in words. Raises CannotCopy."""
    folder.mkdir(parents=True, exist_ok=True)
    dialect = make_url(settings.database).get_backend_name()
    dump, part = folder / DUMPS[dialect], folder / "database.part"
    part.unlink(missing_ok=True)
    if dialect == "sqlite":
        _copy_sqlite(Path(make_url(settings.database).database or ""), part)
    else:
        _postgres("pg_dump", settings, "--format=custom", "--no-owner", f"--file={part}")
    part.replace(dump)
    copied = _copy_blobs(open_storage(settings), DirectoryStorage(folder / "artifacts"))
    about = {
        "stillhouse": __version__,
        "database": dialect,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (folder / MANIFEST).write_text(json.dumps(about, indent=2) + "\n")
    return f"saved the database and {copied.told()} to {folder}"


def restore(settings: Settings, folder: Path) -> str:
    """What was done, in words. Raises CannotCopy."""
    try:
        about = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        raise CannotCopy(f"{folder} holds no finished copy: {MANIFEST} is missing") from None
    dialect = make_url(settings.database).get_backend_name()
    if dialect != about["database"]:
        raise CannotCopy(
            f"the copy is of {about['database']}: let STILLHOUSE_DATABASE_URL name such a database"
        )
    usable_home(settings)
    _refuse_unless_empty(settings)
    copied = _copy_blobs(DirectoryStorage(folder / "artifacts"), open_storage(settings))
    if dialect == "sqlite":
        shutil.copyfile(folder / DUMPS[dialect], Path(make_url(settings.database).database or ""))
    else:
        options = ("--no-owner", "--exit-on-error", "--single-transaction")
        _postgres("pg_restore", settings, *options, folder / DUMPS[dialect])
    upgrade(settings)
    return f"restored the copy of {about['at']} and {copied.told()}"


def _copy_sqlite(source: Path, target: Path) -> None:
    if not source.exists():
        raise CannotCopy(f"there is no database at {source}: set STILLHOUSE_HOME")
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=60)) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))


def _postgres(program: str, settings: Settings, *options: str | Path) -> None:
    """Runs one of PostgreSQL's own programs, which must be as new as the server."""
    url = make_url(settings.database)
    password = {"PGPASSWORD": str(url.password)} if url.password else {}  # all see an option
    open_url = url.set(drivername="postgresql", password=None).render_as_string()
    try:
        done = subprocess.run(  # noqa: S603
            [program, f"--dbname={open_url}", *options],
            env=os.environ | password,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise CannotCopy(f"{program} is not installed here (postgresql-client has it)") from None
    if done.returncode != 0:
        raise CannotCopy(f"{program}: {done.stderr.strip()}")


def _refuse_unless_empty(settings: Settings) -> None:
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite":
        if Path(url.database or "").exists():
            raise CannotCopy(f"there is a database at {url.database} already: move it away first")
        return
    engine = create_engine(url)
    try:
        tables = inspect(engine).get_table_names()
    finally:
        engine.dispose()
    if tables:
        raise CannotCopy(f"the database {url.database} is not empty: make a new one")


@dataclass
class _Copied:
    new: int = 0
    size: int = 0
    damaged: list[str] = field(default_factory=list)

    def told(self) -> str:
        """Raises CannotCopy, once all else is there."""
        if self.damaged:
            raise CannotCopy(f"damaged, and not copied: {', '.join(self.damaged)}")
        return f"{self.new:,} new blobs ({self.size:,} bytes)"


def _copy_blobs(source: Storage, target: Storage) -> _Copied:
    copied = _Copied()
    for blob in source.stored():
        if target.exists(blob.sha256):
            continue
        with target.writer() as writer:
            try:
                for chunk in source.read(blob.sha256):
                    writer.write(chunk)
            except FileNotFoundError:  # removed meanwhile: nothing refers to it
                continue
            if writer.sha256 != blob.sha256:
                copied.damaged.append(blob.sha256)
                continue
            writer.commit()
        copied.new += 1
        copied.size += blob.size
    return copied


def _told(action: Callable[[], str]) -> None:
    try:
        print(f"stillhouse: {action()}")
    except CannotCopy as error:
        print(f"stillhouse: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except OperationalError as error:
        print(f"stillhouse: {unreachable(error)}", file=sys.stderr)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    cli()
