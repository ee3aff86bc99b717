"""Removes what nobody needs any more, on this machine and in storage."""

import logging
import shutil
import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, select

from app import blobs, tallies
from app.db import Database, now_plus
from app.states import HELD
from app.storage import Storage
from app.tables import IdempotencyKey, Job
from workers.blobcache import BlobCache
from workers.retention import Retention

KEYS_S = timedelta(hours=24).total_seconds()
"""How long an Idempotency-Key is remembered."""
ABANDONED_S = timedelta(hours=24).total_seconds()
"""What nobody has written to for so long, nobody will."""
WALK_S = timedelta(hours=1).total_seconds()
"""Between two walks through all that is stored, by whichever worker comes first."""

log = logging.getLogger(__name__)


class Janitor:
    """Every worker may clean at any time: what is shared is locked row by row.

    `grace_s` is how long bytes stay that nothing refers to; `stray_grace_s` how old bytes must be
    that no row knows of before they are taken for such; `walk_s` how long after one walk through
    the whole storage the next one begins.
    """

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        cache: BlobCache,
        home: Path,
        grace_s: float,
        stray_grace_s: float,
        retention: Retention | None = None,
        walk_s: float = WALK_S,
    ) -> None:
        self._database = database
        self._storage = storage
        self._cache = cache
        self._runs = home.absolute() / "runs"
        self._grace_s = grace_s
        self._stray_grace_s = stray_grace_s
        self._retention = retention
        self._walk_s = walk_s

    def clean(self) -> None:
        self._clean_runs()  # first, for what holds blobs of the cache
        self._cache.tidy(ABANDONED_S)
        self._cache.evict()
        self._storage.tidy(ABANDONED_S)
        self._forget_keys()
        if self._retention is not None:
            self._retention.apply()
        self._walk()
        blobs.mark_orphans(self._database)
        removed = blobs.remove_orphans(self._database, self._storage, grace_s=self._grace_s)
        for sha256 in removed:
            log.info("removed blob %s, which nothing refers to", sha256)
        if removed:
            with self._database.transaction() as session:
                tallies.count(session, "removed", len(removed))

    def _walk(self) -> None:
        """Finds bytes that no row knows: of whoever was killed between storing them and writing
        the row, or of a database that was restored from an older copy. They get a row that says
        so, and go like any other orphan."""
        with self._database.transaction() as session:
            if not tallies.due(session, "walks", self._walk_s):
                return
        grace_s = self._stray_grace_s
        for stray in blobs.adopt_strays(self._database, self._storage, grace_s=grace_s):
            log.warning("no row knows of blob %s: an orphan from now on", stray)

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
