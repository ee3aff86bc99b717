"""SQL on metrics: bulk upserts on one side, sampled reading on the other.

A value that was not finite is stored as null. A point written again is overwritten: a resumed job
repeats the steps since its checkpoint.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.tables import MetricPoint, MetricSeries

# Arrays, because a batch is then one statement and one round trip.
_UPSERT_POSTGRESQL = text(
    """
    INSERT INTO metric_points (series_id, step, seq, epoch, time, value)
    SELECT * FROM unnest(
        CAST(:series AS bigint[]), CAST(:steps AS bigint[]), CAST(:seqs AS bigint[]),
        CAST(:epochs AS float8[]), CAST(:times AS float8[]), CAST(:values AS float8[])
    )
    ON CONFLICT (series_id, step) DO UPDATE SET
        seq = excluded.seq, epoch = excluded.epoch, time = excluded.time, value = excluded.value
    """
)
_UPSERT_SQLITE = """
    INSERT INTO metric_points (series_id, step, seq, epoch, time, value) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (series_id, step) DO UPDATE SET
        seq = excluded.seq, epoch = excluded.epoch, time = excluded.time, value = excluded.value
"""

# Rows are numbered within their series and cut into at most `points` buckets of neighbours. The
# first and the last row have a bucket of their own, so that a chart begins and ends where the
# curve does. A bucket is shown at its last row.
_SAMPLE = text(
    """
    WITH numbered AS (
        SELECT series_id, step, value,
               row_number() OVER (PARTITION BY series_id ORDER BY step) - 1 AS i,
               count(*) OVER (PARTITION BY series_id) AS n
        FROM metric_points
        WHERE series_id IN :series AND seq <= :seq
    ), buckets AS (
        SELECT series_id, max(step) AS step, min(value) AS low, max(value) AS high,
               avg(value) AS mean, count(*) AS row_count, count(value) AS finite_count
        FROM numbered
        GROUP BY series_id,
                 CASE WHEN n <= :points THEN i
                      WHEN i = 0 THEN 0
                      WHEN i = n - 1 THEN :points - 1
                      ELSE 1 + (i - 1) * (:points - 2) / (n - 2)
                 END
    )
    SELECT point.series_id, point.step, point.epoch, point.time, point.value,
           low, high, mean, row_count, finite_count
    FROM buckets
    JOIN metric_points AS point USING (series_id, step)
    ORDER BY point.series_id, point.step
    """
).bindparams(bindparam("series", expanding=True))


class Point(NamedTuple):
    """A row of a curve."""

    series_id: int
    step: int
    epoch: float
    time: float
    value: float | None


class Bucket(NamedTuple):
    """Neighbouring rows of a curve: the last one, and what is known of all of them."""

    series_id: int
    step: int
    epoch: float
    time: float
    value: float | None
    low: float | None
    high: float | None
    mean: float | None
    rows: int
    finite: int


def append(session: Session, job_id: str, first_seq: int, points: Sequence[Sequence[Any]]) -> None:
    """Upserts (key, step, epoch, time, value or None), numbered from `first_seq` on.

    Of two points for the same key and step the later one counts.
    """
    ids = _series_ids(session, job_id, {point[0] for point in points})
    rows = {}
    for seq, (key, step, epoch, time, value) in enumerate(points, first_seq):
        finite = value if value is not None and isfinite(value) else None
        rows[ids[key], step] = (ids[key], step, seq, epoch, time, finite)
    if not rows:
        return
    if _dialect(session) == "postgresql":
        names = ("series", "steps", "seqs", "epochs", "times", "values")
        columns = map(list, zip(*rows.values(), strict=True))
        session.execute(_UPSERT_POSTGRESQL, dict(zip(names, columns, strict=True)))
    else:
        session.connection().exec_driver_sql(_UPSERT_SQLITE, list(rows.values()))


def delete_after(session: Session, job_id: str, step: int) -> None:
    """Forgets what came after the checkpoint that a job resumes from."""
    series = select(MetricSeries.id).where(MetricSeries.job_id == job_id)
    session.execute(
        delete(MetricPoint).where(MetricPoint.series_id.in_(series), MetricPoint.step > step),
        execution_options={"synchronize_session": False},
    )


def series(session: Session, job_id: str, keys: Sequence[str] | None) -> dict[int, str]:
    """Ids and keys of a job's curves, by key; of those asked for that exist, or of all."""
    statement = select(MetricSeries.id, MetricSeries.key).where(MetricSeries.job_id == job_id)
    if keys is not None:
        statement = statement.where(MetricSeries.key.in_(keys))
    return {row.id: row.key for row in session.execute(statement.order_by(MetricSeries.key))}


def sample(
    session: Session, series_ids: Sequence[int], *, up_to_seq: int, points: int
) -> Iterator[Bucket]:
    """At most `points` (2 or more) buckets of each curve, in order of step."""
    values = {"series": list(series_ids), "seq": up_to_seq, "points": points}
    return (Bucket(*row) for row in session.execute(_SAMPLE, values))


def since(
    session: Session, series_ids: Sequence[int], *, after_seq: int, up_to_seq: int, points: int
) -> list[tuple[int, Point]]:
    """At most `points` raw rows of all the curves together, with their seq, in its order."""
    statement = (
        select(
            MetricPoint.seq,
            MetricPoint.series_id,
            MetricPoint.step,
            MetricPoint.epoch,
            MetricPoint.time,
            MetricPoint.value,
        )
        .where(
            MetricPoint.series_id.in_(series_ids),
            MetricPoint.seq > after_seq,
            MetricPoint.seq <= up_to_seq,
        )
        .order_by(MetricPoint.seq)
        .limit(points)
    )
    return [(row.seq, Point(*row[1:])) for row in session.execute(statement)]


def rows(session: Session, series_id: int, *, after_step: int, limit: int) -> list[Point]:
    """A piece of one whole curve."""
    statement = (
        select(
            MetricPoint.series_id,
            MetricPoint.step,
            MetricPoint.epoch,
            MetricPoint.time,
            MetricPoint.value,
        )
        .where(MetricPoint.series_id == series_id, MetricPoint.step > after_step)
        .order_by(MetricPoint.step)
        .limit(limit)
    )
    return [Point(*row) for row in session.execute(statement)]


def _series_ids(session: Session, job_id: str, keys: set[str]) -> Mapping[str, int]:
    """Made where they are new; two writers may meet here, and both read the same ids."""
    ids = {key: row_id for row_id, key in series(session, job_id, list(keys)).items()}
    if missing := keys - ids.keys():
        insert = postgresql.insert if _dialect(session) == "postgresql" else sqlite.insert
        session.execute(
            insert(MetricSeries)
            .values([{"job_id": job_id, "key": key} for key in sorted(missing)])
            .on_conflict_do_nothing()
        )
        ids = {key: row_id for row_id, key in series(session, job_id, list(keys)).items()}
    return ids


def _dialect(session: Session) -> str:
    return session.get_bind().dialect.name
