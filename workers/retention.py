"""What finished jobs leave behind goes after the days that the settings give it: off by default.

The job itself stays, and its events. Each removal is a line of the audit.
"""

import logging
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, select, update

from app import tallies
from app.db import Database, now_plus
from app.settings import Settings
from app.states import TERMINAL
from app.tables import Artifact, AuditEntry, Job, MetricSeries
from workers import shelf

ATTEMPTS_OWN: Final = (shelf.CHECKPOINT, shelf.DELIVERABLE, shelf.ONCE)
"""Kinds of artifacts that only training on needs."""
EVERY_S: Final = 3600.0
BATCH: Final = 200
DAY_S: Final = timedelta(days=1).total_seconds()

log = logging.getLogger(__name__)

Removal = tuple[float | None, Any, ColumnElement[bool]]


class Retention:
    """Any worker may apply it, whoever comes first each hour does. Blobs that nothing refers to any
    more go with the janitor's next rounds."""

    def __init__(self, database: Database, settings: Settings, *, every_s: float = EVERY_S) -> None:
        self._database = database
        self._every_s = every_s
        self._removals: dict[str, Removal] = {
            "expire_checkpoints": (
                settings.keep_checkpoints_days,
                Artifact,
                Artifact.kind.in_(ATTEMPTS_OWN),
            ),
            "expire_artifacts": (
                settings.keep_artifacts_days,
                Artifact,
                Artifact.kind.not_in(ATTEMPTS_OWN),
            ),
            "expire_metrics": (settings.keep_metrics_days, MetricSeries, MetricSeries.id > 0),
        }

    def apply(self) -> int:
        """How many jobs lost something."""
        wanted = {name: one for name, one in self._removals.items() if one[0] is not None}
        if not wanted:
            return 0
        with self._database.transaction() as session:
            if not tallies.due(session, "retentions", self._every_s):
                return 0
        return sum(self._remove(action, *removal) for action, removal in wanted.items())

    def _remove(
        self, action: str, days: float | None, table: Any, which: ColumnElement[bool]
    ) -> int:
        old = Job.finished_at < now_plus(-DAY_S * (days or 0.0))
        candidates = (
            select(table.job_id).join(Job, Job.id == table.job_id).where(which, old).distinct()
        )
        gone = 0
        while True:
            with self._database.reading() as session:
                ids = list(session.scalars(candidates.limit(BATCH)))
            removed = sum(self._of_job(job_id, action, table, which, old) for job_id in ids)
            gone += removed
            if len(ids) < BATCH or not removed:
                return gone

    def _of_job(
        self,
        job_id: str,
        action: str,
        table: Any,
        which: ColumnElement[bool],
        old: ColumnElement[bool],
    ) -> bool:
        """In one transaction with its line in the audit."""
        with self._database.transaction() as session:
            mine = select(Job.project_id).where(Job.id == job_id, Job.state.in_(TERMINAL), old)
            project_id = session.scalar(mine.with_for_update(skip_locked=True))
            if project_id is None:  # somebody is deleting it just now
                return False
            statement = delete(table).where(table.job_id == job_id, which)
            count = len(session.execute(statement.returning(table.id)).all())
            # Clients that have its curves are told that they changed.
            session.execute(update(Job).where(Job.id == job_id).values(seq=Job.seq + 1))
            session.add(AuditEntry(project_id=project_id, action=action, subject=job_id))
            tallies.count(session, "expired", count)
        log.info("%s: %s: %d rows", job_id, action, count)
        return True
