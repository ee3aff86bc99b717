"""SQL that reads metrics: sampled for charts, as news, or row by row."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.orm import Session

from app.metrics.rollups import SCALE, Row, Sums, granule, joined, summed
from app.tables import MetricPoint, MetricRollup, MetricSeries

# Rows are numbered within their series; the first and the last have a bucket of their own, so that
# a chart begins and ends where the curve does. Those between, in parts of `size`, are cut into at
# most `points - 2` buckets of neighbouring parts. A bucket is shown at its last row.
_SAMPLE = text(
    """
    WITH numbered AS (
        SELECT series_id, step, value,
               row_number() OVER (PARTITION BY series_id ORDER BY step) - 1 AS i,
               count(*) OVER (PARTITION BY series_id) AS n
        FROM metric_points
        WHERE series_id IN :series
    ), parted AS (
        SELECT series_id, step, value, i, n,
               (i - 1) / :size AS part, (n - 3 + :size) / :size AS parts
        FROM numbered
    ), buckets AS (
        SELECT series_id, max(step) AS step, min(value) AS low, max(value) AS high,
               sum(value * :scale) AS total, count(value) AS finite_count, count(*) AS row_count
        FROM parted
        GROUP BY series_id,
                 CASE WHEN i = 0 THEN 0
                      WHEN i = n - 1 THEN :points - 1
                      WHEN parts <= :points - 2 THEN 1 + part
                      ELSE 1 + part * (:points - 2) / parts
                 END
    )
    SELECT point.series_id, point.step, point.epoch, point.time, point.value,
           low, high, coalesce(total, 0.0), finite_count, row_count
    FROM buckets
    JOIN metric_points AS point USING (series_id, step)
    ORDER BY point.series_id, point.step
    """
).bindparams(bindparam("series", expanding=True))


class Curve(NamedTuple):
    """A curve of a job; of `rows` points, or None where that takes counting."""

    id: int
    key: str
    rows: int | None


class Bucket(NamedTuple):
    """Neighbouring rows of a curve: the last one, and what all of them come to."""

    row: Row
    sums: Sums
    rows: int

    @classmethod
    def alone(cls, row: Row) -> "Bucket":
        return cls(row, summed([row.value]), 1)

    @classmethod
    def joined(cls, parts: Sequence["Bucket"]) -> "Bucket":
        """`parts` are neighbours, in order."""
        rows = sum(part.rows for part in parts)
        return cls(parts[-1].row, joined([part.sums for part in parts]), rows)


def curves(session: Session, job_id: str, keys: Sequence[str] | None) -> list[Curve]:
    """By key: those asked for that exist, or all."""
    statement = select(MetricSeries.id, MetricSeries.key, MetricSeries.rows)
    statement = statement.where(MetricSeries.job_id == job_id).order_by(MetricSeries.key)
    if keys is not None:
        statement = statement.where(MetricSeries.key.in_(keys))
    return [Curve(*row) for row in session.execute(statement)]


def sample(session: Session, wanted: Sequence[Curve], *, points: int) -> dict[int, list[Bucket]]:
    """At most `points` (2 or more) buckets of each curve, by its id, in order of step.

    The session must see one state of the database throughout.
    """
    found: dict[int, list[Bucket]] = {}
    raw: dict[int, list[int]] = {}
    for curve in wanted:
        rows = _count(session, curve.id) if curve.rows is None else curve.rows
        size = granule(rows, points)
        if size == 1 or curve.rows is None:
            raw.setdefault(size, []).append(curve.id)
        else:
            found[curve.id] = _rolled_up(session, curve.id, rows, size, points)
    for size, ids in raw.items():
        for series_id, bucket in _sampled(session, ids, size, points):
            found.setdefault(series_id, []).append(bucket)
    return found


def _sampled(
    session: Session, series_ids: Sequence[int], size: int, points: int
) -> Iterator[tuple[int, Bucket]]:
    """From the rows themselves."""
    values = {"series": series_ids, "size": size, "points": points, "scale": SCALE}
    for series_id, *one in session.execute(_SAMPLE, values):
        yield series_id, Bucket(Row(*one[:4]), Sums(*one[4:8]), one[8])


def _rolled_up(session: Session, series_id: int, rows: int, size: int, points: int) -> list[Bucket]:
    """From the roll-ups, and from rows only at the two ends: just what `_sampled` would find."""
    full = (rows - 2) // size
    parts = _rollups(session, series_id, size, full)
    (first,) = rows_of(session, series_id, after_step=None, limit=1)
    rest = rows_of(session, series_id, after_step=parts[-1].row.step, limit=rows - 1 - full * size)
    if len(rest) > 1:
        sums = summed([row.value for row in rest[:-1]])
        parts.append(Bucket(rest[-2], sums, len(rest) - 1))
    between, inner = len(parts), points - 2
    edges = [-(-one * between // inner) for one in range(inner + 1)] if inner else [0]
    parts.append(Bucket.alone(rest[-1]))
    ranges = pairwise([*edges, len(parts)])
    return [Bucket.alone(first), *(Bucket.joined(parts[start:end]) for start, end in ranges)]


def _rollups(session: Session, series_id: int, size: int, count: int) -> list[Bucket]:
    statement = (
        select(
            MetricRollup.step,
            MetricRollup.epoch,
            MetricRollup.time,
            MetricRollup.value,
            MetricRollup.low,
            MetricRollup.high,
            MetricRollup.total,
            MetricRollup.finite,
        )
        .where(
            MetricRollup.series_id == series_id,
            MetricRollup.size == size,
            MetricRollup.position < count,
        )
        .order_by(MetricRollup.position)
    )
    found = session.execute(statement)
    return [Bucket(Row(*one[:4]), Sums(*one[4:]), size) for one in found]


def since(
    session: Session, series_ids: Sequence[int], *, after_seq: int, up_to_seq: int, points: int
) -> list[tuple[int, int, Row]]:
    """At most `points` rows of all the curves together: seq, series id and row, in order of seq.

    No number belongs to two rows, so a piece of the numbers holds no more rows than it is long:
    however much is new, little more is read than is given back.
    """
    found: list[tuple[int, int, Row]] = []
    length = points
    while series_ids and after_seq < up_to_seq and len(found) < points:
        end = min(after_seq + length, up_to_seq)
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
                MetricPoint.seq <= end,
            )
            .order_by(MetricPoint.seq)
            .limit(points - len(found))
        )
        found += [(one[0], one[1], Row(*one[2:])) for one in session.execute(statement)]
        after_seq, length = end, 4 * length
    return found


def rows_of(session: Session, series_id: int, *, after_step: int | None, limit: int) -> list[Row]:
    """A piece of one whole curve, from its start or from after a step."""
    statement = select(MetricPoint.step, MetricPoint.epoch, MetricPoint.time, MetricPoint.value)
    statement = statement.where(MetricPoint.series_id == series_id)
    if after_step is not None:
        statement = statement.where(MetricPoint.step > after_step)
    statement = statement.order_by(MetricPoint.step).limit(limit)
    return [Row(*row) for row in session.execute(statement)]


def _count(session: Session, series_id: int) -> int:
    statement = select(func.count()).where(MetricPoint.series_id == series_id)
    return session.scalars(statement).one()
