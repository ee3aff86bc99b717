"""Removes what nobody needs any more, on this machine and in storage."""

import logging
import shutil
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, select

from app import blobs, tallies
from app.db import Database, now, now_plus
from app.states import HELD, TERMINAL
from app.storage import Storage
from app.tables import Delivery, IdempotencyKey, Job, Upload
from workers.blobcache import BlobCache
from workers.retention import Retention

KEYS_S = timedelta(hours=24).total_seconds()
"""How long an Idempotency-Key is remembered."""
DELIVERIES_S = timedelta(days=30).total_seconds()
"""How long messages to webhooks are shown, and kept for one that is disabled."""
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
        self._forget(IdempotencyKey, KEYS_S)
        self._forget(Delivery, DELIVERIES_S)
        self._forget_uploads()
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
        self._drop_parts()

    def _drop_parts(self) -> None:
        """What clients put into the store for uploads that are over. An address outlives its
        upload, so something may come after the end too."""
        parts = self._storage.client_parts
        if parts is None:
            return
        for upload_id in sorted(parts.uploads()):  # rows come before any address of theirs
            with self._database.reading() as session:
                upload = session.get(Upload, upload_id)
            if upload is None or upload.file_id is not None:
                log.info("removing what came for upload %s, which is over", upload_id)
                parts.drop(upload_id)

    def _forget_uploads(self) -> None:
        """Their parts are bytes that nothing refers to from now on."""
        with self._database.transaction() as session:
            session.execute(
                delete(Upload).where(Upload.expires_at <= now()),
                execution_options={"synchronize_session": False},
            )

    def _forget(self, table: type[IdempotencyKey | Delivery], after_s: float) -> None:
        with self._database.transaction() as session:
            session.execute(
                delete(table).where(table.created_at < now_plus(-after_s)),
                execution_options={"synchronize_session": False},
            )

    def _clean_runs(self) -> None:
        """Folders that a killed worker could not remove: of attempts that hold their job no
        more, of jobs that are gone or have ended, of inspections."""
        for folder in _folders(self._runs):
            if not folder.name.startswith("job_"):
                with suppress(FileNotFoundError):  # its inspection has just ended
                    if time.time() - folder.stat().st_mtime > ABANDONED_S:
                        shutil.rmtree(folder, ignore_errors=True)
                continue
            # Folders first, row second: a folder is made after the claim that gave its token.
            attempts = _folders(folder)
            with self._database.reading() as session:
                job = session.execute(
                    select(Job.state, Job.token).where(Job.id == folder.name)
                ).one_or_none()
            if job is None or job.state in TERMINAL:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            for attempt in attempts:
                if job.state not in HELD or attempt.name != str(job.token):
                    shutil.rmtree(attempt, ignore_errors=True)


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
