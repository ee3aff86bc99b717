"""SQL that reads what is new of jobs: of many at once, since a number of each one's own.

Each transaction that writes of a job takes numbers (`seq`) under the job's lock. So a snapshot that
shows a number on the job's row shows every row that was given it or one before, but for those that
were written again since, which have a later one.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db import now
from app.metrics import repository as metrics
from app.states import TERMINAL, State
from app.tables import ApiKey, Job, JobEvent

Spans = Mapping[str, tuple[int, int]]
"""By job: after which number, and up to which."""


class Standing(NamedTuple):
    """Where a job stands."""

    seq: int
    state: str
    phase: str
    attempt: int
    progress: dict[str, Any]

    @property
    def over(self) -> bool:
        return State(self.state) in TERMINAL


class Point(NamedTuple):
    seq: int
    key: str
    step: int
    epoch: float
    time: float
    value: float | None


# SQLite takes tables in the order of CROSS JOINs, which is the one that follows the indexes.
_SPANS = {
    "postgresql": """
        SELECT * FROM json_to_recordset(CAST(:spans AS json))
        AS span (job_id text, after_seq bigint, up_to_seq bigint)
        """,
    "sqlite": """
        SELECT json_extract(value, '$.job_id') AS job_id,
               json_extract(value, '$.after_seq') AS after_seq,
               json_extract(value, '$.up_to_seq') AS up_to_seq
        FROM json_each(:spans)
        """,
}
_POINTS = """
    WITH wanted AS ({spans})
    SELECT wanted.job_id, point.seq, series.key, point.step, point.epoch, point.time, point.value
    FROM wanted CROSS JOIN metric_series AS series CROSS JOIN metric_points AS point
    WHERE series.job_id = wanted.job_id AND point.series_id = series.id
      AND point.seq > wanted.after_seq AND point.seq <= wanted.up_to_seq
    ORDER BY wanted.job_id, point.seq
    """
_EVENTS = """
    WITH wanted AS ({spans})
    SELECT event.* FROM wanted CROSS JOIN job_events AS event
    WHERE event.job_id = wanted.job_id
      AND event.seq > wanted.after_seq AND event.seq <= wanted.up_to_seq
    ORDER BY event.job_id, event.seq
    """


def standings(session: Session, job_ids: Sequence[str]) -> dict[str, Standing]:
    """Of those that are still there."""
    columns = Job.id, Job.seq, Job.state, Job.phase, Job.attempt, Job.progress
    rows = session.execute(select(*columns).where(Job.id.in_(job_ids)))
    return {row[0]: Standing(*row[1:]) for row in rows}


def points(session: Session, spans: Spans) -> dict[str, list[Point]]:
    """By job, in the order of their numbers."""
    rows = session.execute(text(_on(session, _POINTS)), _bound(spans))
    by_job = groupby(rows, key=attrgetter("job_id"))
    return {job_id: [Point(*row[1:]) for row in some] for job_id, some in by_job}


def events(session: Session, spans: Spans) -> dict[str, list[JobEvent]]:
    """By job, in the order of their numbers."""
    found = text(_on(session, _EVENTS)).columns(*JobEvent.__table__.columns)
    rows = session.scalars(select(JobEvent).from_statement(found), _bound(spans))
    return {job_id: list(some) for job_id, some in groupby(rows, key=attrgetter("job_id"))}


def history(
    session: Session, job_id: str, *, after: int, up_to: int, most: int
) -> tuple[list[Point], list[JobEvent], int]:
    """A piece of all that was written before, `most` points at most, and the number it ends at."""
    keys = {curve.id: curve.key for curve in metrics.curves(session, job_id, None)}
    rows = metrics.since(session, list(keys), after_seq=after, up_to_seq=up_to, points=most)
    found = [Point(seq, keys[series_id], *row) for seq, series_id, row in rows]
    end = found[-1].seq if len(found) == most else up_to
    return found, events(session, {job_id: (after, end)}).get(job_id, []), end


def barred(session: Session, key_ids: Sequence[str]) -> set[str]:
    """Those of the keys that are revoked or have expired."""
    ended = ApiKey.revoked_at.is_not(None) | (ApiKey.expires_at <= now())
    return set(session.scalars(select(ApiKey.id).where(ApiKey.id.in_(key_ids), ended)))


def _on(session: Session, statement: str) -> str:
    return statement.format(spans=_SPANS[session.get_bind().dialect.name])


def _bound(spans: Spans) -> dict[str, str]:
    rows = [
        {"job_id": job_id, "after_seq": after, "up_to_seq": up_to}
        for job_id, (after, up_to) in spans.items()
    ]
    return {"spans": to_json(rows).decode()}
