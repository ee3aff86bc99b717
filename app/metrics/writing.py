"""SQL that writes metrics: bulk upserts, and the roll-ups that go with them.

A value that was not finite is stored as null. A point written again is overwritten: a resumed job
repeats the steps since its checkpoint. Whoever calls holds the job's row, so that one writes at a
time.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

from app.db import insert_for
from app.metrics import repository
from app.metrics.rollups import SIZES, Roller, Rollup, Row
from app.tables import MetricPoint, MetricRollup, MetricSeries

PIECE = 20_000
"""Rows in memory while a curve is rolled up again."""

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


def append(session: Session, job_id: str, first_seq: int, points: Sequence[Sequence[Any]]) -> None:
    """Upserts (key, step, epoch, time, value or None), numbered from `first_seq` on.

    Of two points for the same key and step the later one counts.
    """
    curves = _curves(session, job_id, {point[0] for point in points})
    came: dict[str, dict[int, tuple[int, Row]]] = {key: {} for key in curves}
    for seq, (key, step, epoch, time, value) in enumerate(points, first_seq):
        finite = value if value is not None and isfinite(value) else None
        came[key][step] = seq, Row(step, epoch, time, finite)
    _upsert(
        session,
        [
            (curves[key].id, row.step, seq, *row[1:])
            for key, rows in came.items()
            for seq, row in rows.values()
        ],
    )
    rollers: dict[int, Roller] = {}
    full: list[tuple[int, Rollup]] = []
    for key, curve in curves.items():
        rows = sorted(row for _, row in came[key].values())
        roller = _roller(curve)
        if roller is None or (roller.step is not None and rows[0].step <= roller.step):
            _again(session, curve.id, rows[0].step)
        else:
            full += ((curve.id, rollup) for rollup in roller.feed(rows))
            rollers[curve.id] = roller
    _keep(session, rollers, full)


def delete_after(session: Session, job_id: str, step: int) -> None:
    """Forgets what came after the checkpoint that a job resumes from."""
    series = select(MetricSeries.id).where(MetricSeries.job_id == job_id)
    session.execute(
        delete(MetricPoint).where(MetricPoint.series_id.in_(series), MetricPoint.step > step),
        execution_options={"synchronize_session": False},
    )
    for series_id in session.scalars(series.where(MetricSeries.step > step)).all():
        _again(session, series_id, step + 1)


def _upsert(session: Session, rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    if _dialect(session) == "postgresql":
        names = ("series", "steps", "seqs", "epochs", "times", "values")
        columns = map(list, zip(*rows, strict=True))
        session.execute(_UPSERT_POSTGRESQL, dict(zip(names, columns, strict=True)))
    else:
        session.connection().exec_driver_sql(_UPSERT_SQLITE, list(rows))


def _again(session: Session, series_id: int, step: int) -> None:
    """Rolls a curve up once more, from the largest roll-up on that ends before `step`."""
    kept = session.execute(
        select(MetricRollup.position, MetricRollup.step)
        .where(
            MetricRollup.series_id == series_id,
            MetricRollup.size == SIZES[-1],
            MetricRollup.step < step,
        )
        .order_by(MetricRollup.position.desc())
        .limit(1)
    ).one_or_none()
    roller = Roller() if kept is None else Roller(1 + (kept.position + 1) * SIZES[-1], kept.step)
    session.execute(
        delete(MetricRollup).where(
            MetricRollup.series_id == series_id,
            MetricRollup.position * MetricRollup.size >= roller.rows - 1,
        ),
        execution_options={"synchronize_session": False},
    )
    while True:
        rows = repository.rows_of(session, series_id, after_step=roller.step, limit=PIECE)
        full = [(series_id, rollup) for rollup in roller.feed(rows)]
        _keep(session, {series_id: roller}, full)
        if len(rows) < PIECE:
            return


def _keep(
    session: Session, rollers: Mapping[int, Roller], full: Iterable[tuple[int, Rollup]]
) -> None:
    """Writes the new roll-ups, and what the rollers must remember."""
    if new := [{"series_id": series_id, **rollup._asdict()} for series_id, rollup in full]:
        session.execute(insert(MetricRollup), new)
    if rollers:
        session.execute(
            update(MetricSeries),
            [
                {"id": series_id, "rows": one.rows, "step": one.step, "open": one.open}
                for series_id, one in rollers.items()
            ],
        )


def _roller(curve: MetricSeries) -> Roller | None:
    return None if curve.rows is None else Roller(curve.rows, curve.step, curve.open)


def _curves(session: Session, job_id: str, keys: set[str]) -> dict[str, MetricSeries]:
    """By key. Made where they are new; two writers may meet here, and both read the same."""
    statement = select(MetricSeries).where(
        MetricSeries.job_id == job_id, MetricSeries.key.in_(keys)
    )
    found = {curve.key: curve for curve in session.scalars(statement)}
    if missing := keys - found.keys():
        session.execute(
            insert_for(session, MetricSeries)
            .values([{"job_id": job_id, "key": key, "rows": 0} for key in sorted(missing)])
            .on_conflict_do_nothing()
        )
        found = {curve.key: curve for curve in session.scalars(statement)}
    return found


def _dialect(session: Session) -> str:
    return session.get_bind().dialect.name
