"""From rows to curves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from app.http.signing import Signer
from app.metrics import repository
from app.metrics.repository import Buckets, Curve
from app.metrics.rollups import Row
from app.metrics.schemas import Aggregate, Axis, MetricsOut, SeriesOut
from app.states import TERMINAL, State
from app.tables import Job

MOST_POINTS: Final = 200_000
"""Of one answer, which is made in memory: many seeds and controls have a thousand curves."""


@dataclass(frozen=True)
class Query:
    """What a client asks to see."""

    keys: tuple[str, ...] | None
    x: Axis
    max_points: int
    agg: Aggregate
    after: str | None


def overview(session: Session, job: Job, query: Query, signer: Signer) -> MetricsOut:
    """Whole curves, each sampled to `max_points`, or to fewer where there are so many that the
    answer would be too large. The session must see one state throughout."""
    curves = repository.curves(session, job.id, query.keys)
    fair = max(MOST_POINTS // max(len(curves), 1), 2)
    buckets = repository.sample(session, curves, points=min(query.max_points, fair))
    series = _series(curves, buckets, query)
    return _answer(job, query, series, signer, seq=job.seq, has_more=False)


def news(session: Session, job: Job, query: Query, signer: Signer) -> MetricsOut:
    """Raw points since the cursor, in the order they were written; `max_points` in all.

    Raises BadRequest `invalid_cursor`.
    """
    after = int(signer.read(query.after or "", _purpose(job, query)))
    curves = repository.curves(session, job.id, query.keys) if job.seq > after else []
    ids = [curve.id for curve in curves]
    found = repository.since(
        session, ids, after_seq=after, up_to_seq=job.seq, points=query.max_points + 1
    )
    has_more = len(found) > query.max_points
    sent = found[: query.max_points]
    rows: dict[int, list[Row]] = {}
    for _, series_id, row in sent:
        rows.setdefault(series_id, []).append(row)
    buckets = {series_id: Buckets.alone(some) for series_id, some in rows.items()}
    series = _series(curves, buckets, query)
    seq = sent[-1][0] if has_more else job.seq
    return _answer(job, query, series, signer, seq=seq, has_more=has_more)


def _answer(
    job: Job,
    query: Query,
    series: list[SeriesOut],
    signer: Signer,
    *,
    seq: int,
    has_more: bool,
) -> MetricsOut:
    over = State(job.state) in TERMINAL and not has_more
    return MetricsOut(
        job=job.id,
        state=job.state,
        x=query.x,
        series=series,
        next=None if over else signer.sign(seq, _purpose(job, query)),
        has_more=has_more,
        seq=seq,
    )


def _purpose(job: Job, query: Query) -> list[object]:
    return ["metrics", job.id, query.keys and sorted(query.keys)]


def _series(
    curves: Iterable[Curve], buckets: Mapping[int, Buckets], query: Query
) -> list[SeriesOut]:
    return [_one(curve.key, buckets[curve.id], query) for curve in curves if curve.id in buckets]


def _one(key: str, buckets: Buckets, query: Query) -> SeriesOut:
    count = sum(buckets.rows)
    bounded = query.agg == "minmax"
    return SeriesOut(
        key=key,
        x=getattr(buckets, query.x),
        y=buckets.mean() if query.agg == "mean" else buckets.value,
        y_min=buckets.low if bounded else None,
        y_max=buckets.high if bounded else None,
        count=count,
        nonfinite=count - sum(buckets.finite),
        sampled=count > len(buckets.rows),
    )
