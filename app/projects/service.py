"""The rules of projects and keys, for HTTP and the command line alike."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import Database, now
from app.errors import Conflict, NotFound, TooMany, unprocessable
from app.ids import new_id
from app.projects import repository
from app.projects.keys import SHOWN, digest, new_key
from app.settings import Settings
from app.tables import DEFAULT_PROJECT, ApiKey, Project

MAX_KEYS: Final = 100
"""Of one project, in use: the rate limit is a key's."""


def create_project(session: Session, name: str, **limits: int | None) -> Project:
    """Raises Conflict `project_exists`."""
    row = Project(id=new_id("prj"), name=name, **limits)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        raise Conflict("project_exists", f"There is a project {name} already.") from None
    return row


def change_project(session: Session, project_id: str, **limits: int | None) -> Project:
    """Raises NotFound."""
    row = repository.project(session, project_id, lock=True)
    if row is None:
        raise no_project(project_id)
    for name, value in limits.items():
        setattr(row, name, value)
    return row


def create_key(
    session: Session,
    project_id: str,
    *,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """The row, and the key itself, which nobody will see again. Raises Unprocessable, TooMany."""
    if repository.project(session, project_id) is None:
        raise unprocessable("/project", "unknown_project", f"There is no project {project_id}.")
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise unprocessable("/expires_at", "already_expired", "That is in the past.")
    repository.lock_project(session, project_id)
    used = repository.usable_keys(session, project_id)
    if used >= MAX_KEYS:
        raise TooMany(
            "quota_exceeded",
            f"The project has {used} of {MAX_KEYS} keys.",
            hint="Revoke what is not used.",
            headers={"Retry-After": "60"},
        )
    key = new_key()
    row = _row(project_id, key, name=name, scopes=scopes, expires_at=expires_at)
    session.add(row)
    session.flush()
    return row, key


def revoke_key(session: Session, key_id: str) -> ApiKey:
    """Again is no error. Raises NotFound."""
    row = repository.key(session, key_id, lock=True)
    if row is None:
        raise no_key(key_id)
    if row.revoked_at is None:
        row.revoked_at = now()
        session.flush()
        session.refresh(row)
    return row


def plant_key(database: Database, settings: Settings) -> None:
    """The key that the settings bring, unless it is there: a revoked one stays revoked."""
    if settings.bootstrap_key is None:
        return
    key = settings.bootstrap_key.get_secret_value()
    try:
        with database.transaction() as session:
            if repository.key_by_digest(session, digest(key), idle_s=0) is None:
                session.add(_row(DEFAULT_PROJECT, key, name="bootstrap", scopes=("admin",)))
    except IntegrityError:
        pass  # another process was first


def _row(project_id: str, key: str, **values: Any) -> ApiKey:
    return ApiKey(
        id=new_id("key"),
        project_id=project_id,
        start=key[:SHOWN],
        sha256=digest(key),
        **{**values, "scopes": sorted(set(values["scopes"]))},
    )


def no_project(project_id: str) -> NotFound:
    return NotFound("project_not_found", f"There is no project {project_id}.")


def no_key(key_id: str) -> NotFound:
    return NotFound("key_not_found", f"There is no key {key_id}.")
