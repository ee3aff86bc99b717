"""SQL that reads metrics: sampled for charts, as news, or row by row."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import NamedTuple

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.orm import Session

from app.metrics.rollups import SCALE, Row, granule
from app.tables import MetricPoint, MetricRollup, MetricSeries

ROLLUPS = MetricRollup.__table__
POINTS = MetricPoint.__table__

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


class Buckets(NamedTuple):
    """A curve in buckets of neighbouring rows, by column: a long answer would otherwise be made of
    tens of thousands of small objects."""

    step: Sequence[int]
    """Of each bucket's last row, as are epoch, time and value."""
    epoch: Sequence[float]
    time: Sequence[float]
    value: Sequence[float | None]
    low: Sequence[float | None]
    high: Sequence[float | None]
    total: Sequence[float]
    """Of the finite values, times SCALE."""
    finite: Sequence[int]
    rows: Sequence[int]

    @classmethod
    def alone(cls, rows: Sequence[Row]) -> "Buckets":
        """A bucket for each row."""
        step, epoch, time, value = zip(*rows, strict=True)
        total = [SCALE * (one or 0.0) for one in value]
        finite = [int(one is not None) for one in value]
        return cls(step, epoch, time, value, value, value, total, finite, [1] * len(rows))

    def joined(self, edges: Sequence[int]) -> "Buckets":
        """Fewer, each of the buckets from one edge to before the next."""
        cut = [slice(start, end) for start, end in pairwise(edges)]
        last = [end - 1 for end in edges[1:]]
        return Buckets._make(
            [
                *([column[at] for at in last] for column in self[:4]),
                [min(_known(self.low[part]), default=None) for part in cut],
                [max(_known(self.high[part]), default=None) for part in cut],
                *([sum(column[part]) for part in cut] for column in self[6:]),
            ]
        )

    def mean(self) -> list[float | None]:
        both = zip(self.total, self.finite, strict=True)
        return [total * (1 / SCALE / count) if count else None for total, count in both]


def _known(values: Sequence[float | None]) -> Sequence[float]:
    return [value for value in values if value is not None]


def curves(session: Session, job_id: str, keys: Sequence[str] | None) -> list[Curve]:
    """By key: those asked for that exist, or all."""
    statement = select(MetricSeries.id, MetricSeries.key, MetricSeries.rows)
    statement = statement.where(MetricSeries.job_id == job_id).order_by(MetricSeries.key)
    if keys is not None:
        statement = statement.where(MetricSeries.key.in_(keys))
    return [Curve(*row) for row in session.execute(statement)]


def sample(session: Session, wanted: Sequence[Curve], *, points: int) -> dict[int, Buckets]:
    """At most `points` (2 or more) buckets of each curve that has any rows, by its id.

    The session must see one state of the database throughout.
    """
    found: dict[int, Buckets] = {}
    raw: dict[int, list[int]] = {}
    for curve in wanted:
        rows = _count(session, curve.id) if curve.rows is None else curve.rows
        size = granule(rows, points)
        if size == 1 or curve.rows is None:
            raw.setdefault(size, []).append(curve.id)
        else:
            found[curve.id] = _rolled_up(session, curve.id, rows, size, points)
    for size, ids in raw.items():
        found |= _sampled(session, ids, size, points)
    return found


def _sampled(
    session: Session, series_ids: Sequence[int], size: int, points: int
) -> dict[int, Buckets]:
    """From the rows themselves."""
    values = {"series": series_ids, "size": size, "points": points, "scale": SCALE}
    rows = session.execute(_SAMPLE, values).all()
    by_series = groupby(rows, key=itemgetter(0))
    return {
        series_id: Buckets._make(list(zip(*some, strict=True))[1:]) for series_id, some in by_series
    }


def _rolled_up(session: Session, series_id: int, rows: int, size: int, points: int) -> Buckets:
    """From the roll-ups, and from rows only at the two ends: just what `_sampled` would find."""
    full = (rows - 2) // size
    rolled = _rollups(session, series_id, size, full)
    first = rows_of(session, series_id, after_step=None, limit=1)
    rest = rows_of(session, series_id, after_step=rolled.step[-1], limit=rows - 1 - full * size)
    # The rest is one part more, and the last row.
    edges = [0, len(rest) - 1, len(rest)] if len(rest) > 1 else [0, 1]
    tail = Buckets.alone(rest).joined(edges)
    columns = zip(Buckets.alone(first), rolled, tail, strict=True)
    parts = Buckets._make([*head, *middle, *end] for head, middle, end in columns)
    between, inner = len(parts.step) - 2, points - 2
    cuts = [1 + -(-one * between // inner) for one in range(inner + 1)] if inner else [1]
    return parts.joined([0, *cuts, len(parts.step)])


def _rollups(session: Session, series_id: int, size: int, count: int) -> Buckets:
    statement = (
        select(*(ROLLUPS.c[name] for name in Buckets._fields[:-1]))
        .where(ROLLUPS.c.series_id == series_id, ROLLUPS.c.size == size, ROLLUPS.c.position < count)
        .order_by(ROLLUPS.c.position)
    )
    columns = zip(*session.execute(statement).all(), strict=True)
    return Buckets._make([*columns, [size] * count])


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
                POINTS.c.seq,
                POINTS.c.series_id,
                POINTS.c.step,
                POINTS.c.epoch,
                POINTS.c.time,
                POINTS.c.value,
            )
            .where(
                POINTS.c.series_id.in_(series_ids),
                POINTS.c.seq > after_seq,
                POINTS.c.seq <= end,
            )
            .order_by(POINTS.c.seq)
            .limit(points - len(found))
        )
        found += [(one[0], one[1], Row(*one[2:])) for one in session.execute(statement)]
        after_seq, length = end, 4 * length
    return found


def rows_of(session: Session, series_id: int, *, after_step: int | None, limit: int) -> list[Row]:
    """A piece of one whole curve, from its start or from after a step."""
    statement = select(POINTS.c.step, POINTS.c.epoch, POINTS.c.time, POINTS.c.value)
    statement = statement.where(POINTS.c.series_id == series_id)
    if after_step is not None:
        statement = statement.where(POINTS.c.step > after_step)
    statement = statement.order_by(POINTS.c.step).limit(limit)
    return [Row(*row) for row in session.execute(statement)]


def _count(session: Session, series_id: int) -> int:
    statement = select(func.count()).where(POINTS.c.series_id == series_id)
    return session.scalars(statement).one()
