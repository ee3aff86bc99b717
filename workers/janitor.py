"""Removes what nobody needs any more, on this machine and in storage."""

import logging
import shutil
import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, select

from app import blobs
from app.db import Database, now_plus
from app.states import HELD
from app.storage import Storage
from app.tables import IdempotencyKey, Job

KEYS_S = timedelta(hours=24).total_seconds()
"""How long an Idempotency-Key is remembered."""
ABANDONED_S = timedelta(hours=24).total_seconds()
"""What nobody has written to for so long, nobody will."""

log = logging.getLogger(__name__)


class Janitor:
    """Every worker may clean at any time: what is shared is locked row by row.

    `grace_s` is how long bytes stay that nothing refers to.
    """

    def __init__(self, *, database: Database, storage: Storage, home: Path, grace_s: float) -> None:
        self._database = database
        self._storage = storage
        self._runs = home.absolute() / "runs"
        self._grace_s = grace_s

    def clean(self) -> None:
        blobs.mark_orphans(self._database)
        for sha256 in blobs.remove_orphans(self._database, self._storage, grace_s=self._grace_s):
            log.info("removed blob %s, which nothing refers to", sha256)
        self._storage.tidy(ABANDONED_S)
        self._forget_keys()
        self._clean_runs()

    def _forget_keys(self) -> None:
        with self._database.transaction() as session:
            session.execute(
                delete(IdempotencyKey).where(IdempotencyKey.created_at < now_plus(-KEYS_S)),
                execution_options={"synchronize_session": False},
            )

    def _clean_runs(self) -> None:
        """Folders that a killed worker could not remove: of attempts that hold their job no
        more, of jobs that are gone, of inspections. The log stays as long as its job."""
        for folder in _folders(self._runs):
            if not folder.name.startswith("job_"):
                if time.time() - folder.stat().st_mtime > ABANDONED_S:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            # Folders first, row second: a folder is made after the claim that gave its token.
            attempts = _folders(folder)
            with self._database.reading() as session:
                job = session.execute(
                    select(Job.state, Job.token).where(Job.id == folder.name)
                ).one_or_none()
            if job is None:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            for attempt in attempts:
                if job.state not in HELD or attempt.name != str(job.token):
                    shutil.rmtree(attempt, ignore_errors=True)


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
