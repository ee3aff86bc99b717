"""Keys, verified, and remembered for a moment."""

import hmac
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db import Database
from app.errors import Unauthorized
from app.projects import repository
from app.projects.caller import Caller, Usage
from app.projects.keys import digest, looks_like_one
from app.settings import Settings
from app.tables import DEFAULT_PROJECT, Project

REMEMBERED_S: Final = 2.0
"""A key that another process revokes works here for so long at most."""
TOUCH_S: Final = 60.0
MOST: Final = 10_000
"""Keys remembered at a time."""

log = structlog.get_logger()


class Keyring:
    """One per process. `recall` takes microseconds; `verify` asks the database."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._known: dict[str, tuple[float, Caller]] = {}
        self._usage: dict[str, Usage] = {}
        # Beside the requests': that a key was used is worth no client's waiting.
        self._notes = ThreadPoolExecutor(1, thread_name_prefix="keyring")

    def recall(self, key: str | None) -> Caller | None:
        """Who was verified by this key, or without one, a moment ago."""
        kept = self._known.get(_name(key))
        if kept is None or time.monotonic() - kept[0] > REMEMBERED_S:
            return None
        return kept[1]

    def verify(self, key: str | None) -> Caller:
        """Raises Unauthorized."""
        name = _name(key)
        began = time.monotonic()
        caller = self._anybody() if key is None else self._holder(key, name)
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[name] = (began, caller)
        return caller

    def forget(self) -> None:
        """Whatever was remembered: something has just changed."""
        self._known.clear()

    def close(self) -> None:
        self._notes.shutdown()

    def _holder(self, key: str, sha256: str) -> Caller:
        if not looks_like_one(key):
            raise _refused("invalid_key", "This is no key of this service.")
        with self._database.reading() as session:
            found = repository.key_by_digest(session, sha256, idle_s=TOUCH_S)
        if found is None or not hmac.compare_digest(found.key.sha256, sha256):
            raise _refused("invalid_key", "This is no key of this service.")
        row = found.key
        if row.revoked_at is not None:
            raise _refused("key_revoked", f"The key {row.id} was revoked.")
        if found.expired:
            raise _refused("key_expired", f"The key {row.id} has expired.")
        if found.idle:
            self._notes.submit(self._touch, row.id)
        return self._caller(found.project, row.id, frozenset(row.scopes))

    def _anybody(self) -> Caller:
        if self._settings.asks_for_keys:
            raise Unauthorized(
                "key_required",
                "This service asks for an API key: Authorization: Bearer sh_...",
                headers={"WWW-Authenticate": 'Bearer realm="stillhouse"'},
            )
        try:
            with self._database.reading() as session:
                project = repository.default_project(session)
        except SQLAlchemyError:
            # What needs no database should answer without one.
            project = Project(id=DEFAULT_PROJECT, max_active_jobs=None, max_stored_bytes=None)
        return self._caller(project, None, frozenset({"admin"}))

    def _caller(self, project: Project, key_id: str | None, scopes: frozenset[str]) -> Caller:
        jobs, stored = self._settings.quotas
        return Caller(
            project_id=project.id,
            key_id=key_id,
            scopes=scopes,
            max_active_jobs=jobs if project.max_active_jobs is None else project.max_active_jobs,
            max_stored_bytes=(
                stored if project.max_stored_bytes is None else project.max_stored_bytes
            ),
            usage=self._usage.setdefault(project.id, Usage()),
        )

    def _touch(self, key_id: str) -> None:
        try:
            with self._database.transaction() as session:
                repository.touch(session, key_id)
        except SQLAlchemyError as error:
            log.warning("key_not_touched", key=key_id, error=type(error).__name__)


def _name(key: str | None) -> str:
    """What a key is remembered by."""
    return "" if key is None else digest(key)


def _refused(code: str, detail: str) -> Unauthorized:
    challenge = f'Bearer realm="stillhouse", error="invalid_token", error_description="{detail}"'
    return Unauthorized(code, detail, headers={"WWW-Authenticate": challenge})
