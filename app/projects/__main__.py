"""Projects and keys from a terminal, past HTTP: `python -m app.projects --help`.

Whoever can run this has the database's own credentials, so no key is asked for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import Problem
from app.migrate import upgrade
from app.projects import repository, service
from app.projects.keys import DEFAULT_SCOPES, Scope
from app.settings import get_settings
from app.tables import DEFAULT_PROJECT, ApiKey, Project
from app.tenancy import Deed, TenantDatabase, made

# Typer's own tracebacks can show the values of variables, and a key may be among them.
cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Projects and their API keys.",
)
keys = typer.Typer(no_args_is_help=True, help="API keys.")
cli.add_typer(keys, name="keys")

Named = Annotated[str, typer.Argument(help="The project's name or id.")]
Of = Annotated[str, typer.Option("--project", help="The project's name or id.")]
Jobs = Annotated[int | None, typer.Option(min=0, help="Queued, running and paused at a time.")]
Bytes = Annotated[int | None, typer.Option(min=0, help="Of all that it keeps.")]


def _scopes(given: list[str]) -> list[str]:
    if unknown := set(given) - set(get_args(Scope)):
        raise typer.BadParameter(f"{', '.join(unknown)}: take {', '.join(get_args(Scope))}")
    return given


Scopes = Annotated[
    list[str], typer.Option("--scope", callback=_scopes, help="Several times for several.")
]


@cli.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Letters, digits, dots, dashes.")],
    max_active_jobs: Jobs = None,
    max_stored_bytes: Bytes = None,
) -> None:
    """Makes a project."""
    with _session("create_project") as session:
        limits = {"max_active_jobs": max_active_jobs, "max_stored_bytes": max_stored_bytes}
        row = service.create_project(session, name, **limits)
        made(session, row.id)
        typer.echo(row.id)


@cli.command("list")
def list_() -> None:
    """Shows all projects, with what they have and may have."""
    table = Table("id", "name", "active jobs", "allowed", "stored bytes", "allowed", box=None)
    with _session() as session:
        for row in session.scalars(repository.projects(session).order_by(Project.created_at)):
            table.add_row(
                row.id,
                row.name,
                str(repository.active_jobs(session, row.id)),
                _or_default(row.max_active_jobs),
                f"{repository.stored_bytes(session, row.id):,}",
                _or_default(row.max_stored_bytes),
            )
    Console().print(table)


@cli.command("limit")
def limit(project: Named, max_active_jobs: Jobs = None, max_stored_bytes: Bytes = None) -> None:
    """Sets a project's limits; those left out become the service's own."""
    with _session("change_project") as session:
        row = service.change_project(
            session,
            _found(session, project).id,
            max_active_jobs=max_active_jobs,
            max_stored_bytes=max_stored_bytes,
        )
        made(session, row.id)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is, and for what.")],
    project: Of = DEFAULT_PROJECT,
    scope: Scopes = list(DEFAULT_SCOPES),  # noqa: B006
    days: Annotated[int | None, typer.Option(min=1, help="Until it expires; else never.")] = None,
) -> None:
    """Makes a key and prints it, this once."""
    with _session("create_key") as session:
        row, key = service.create_key(
            session,
            _found(session, project).id,
            name=name,
            scopes=tuple(scope),
            expires_at=None if days is None else datetime.now(UTC) + timedelta(days=days),
        )
        made(session, row.id)
    typer.echo(f"{row.id}: {', '.join(row.scopes)}. The key, which is not shown again:", err=True)
    typer.echo(key)


@keys.command("list")
def list_keys(project: Of = "") -> None:
    """Shows keys, of all projects or of one, newest first."""
    table = Table("id", "project", "name", "starts", "scopes", "last used", "state", box=None)
    with _session() as session:
        statement = repository.keys().order_by(ApiKey.created_at.desc())
        if project:
            statement = statement.where(ApiKey.project_id == _found(session, project).id)
        for row in session.scalars(statement):
            used = "never" if row.last_used_at is None else f"{row.last_used_at:%Y-%m-%d %H:%M}"
            scopes = ", ".join(row.scopes)
            table.add_row(row.id, row.project_id, row.name, row.start, scopes, used, _state(row))
    Console().print(table)


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="key_...")]) -> None:
    """Ends a key: API processes stop taking it within two seconds."""
    with _session("revoke_key") as session:
        made(session, service.revoke_key(session, key_id).id)


def _state(row: ApiKey) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at is not None:
        expired = row.expires_at <= datetime.now(UTC)
        return f"{'expired' if expired else 'until'} {row.expires_at:%Y-%m-%d}"
    return "in use"


def _or_default(limit: int | None) -> str:
    return "service's" if limit is None else f"{limit:,}"


def _found(session: Session, project: str) -> Project:
    row = repository.project(session, project) or repository.project_named(session, project)
    if row is None:
        raise service.no_project(project)
    return row


@contextmanager
def _session(action: str | None = None) -> Iterator[Session]:
    """One transaction as the operator; a problem is said in a line."""
    settings = get_settings()
    upgrade(settings)
    database = Database(settings.database)
    deed = None if action is None else Deed(action, request_id="command line")
    operator = TenantDatabase(database, DEFAULT_PROJECT, deed=deed, everything=True)
    try:
        with operator.transaction() if action else operator.reading() as session:
            yield session
    except Problem as problem:
        typer.echo(problem.detail, err=True)
        raise typer.Exit(1) from None
    finally:
        database.close()


if __name__ == "__main__":
    cli(prog_name="python -m app.projects")
