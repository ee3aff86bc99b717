"""From rows to curves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.http.signing import Signer
from app.metrics import repository
from app.metrics.repository import Bucket
from app.metrics.schemas import Aggregate, Axis, MetricsOut, SeriesOut
from app.states import TERMINAL, State
from app.tables import Job


@dataclass(frozen=True)
class Query:
    """What a client asks to see."""

    keys: tuple[str, ...] | None
    x: Axis
    max_points: int
    agg: Aggregate
    after: str | None


def overview(session: Session, job: Job, query: Query, signer: Signer) -> MetricsOut:
    """Whole curves, each sampled to `max_points`."""
    names = repository.series(session, job.id, query.keys)
    buckets = repository.sample(session, list(names), up_to_seq=job.seq, points=query.max_points)
    curves = _curves(buckets, names, query)
    return _answer(job, query, curves, signer, seq=job.seq, has_more=False)


def news(session: Session, job: Job, query: Query, signer: Signer) -> MetricsOut:
    """Raw points since the cursor, in the order they were written; `max_points` in all.

    Raises BadRequest `invalid_cursor`.
    """
    after = int(signer.read(query.after or "", _purpose(job, query)))
    names = repository.series(session, job.id, query.keys) if job.seq > after else {}
    found = repository.since(
        session, list(names), after_seq=after, up_to_seq=job.seq, points=query.max_points + 1
    )
    has_more = len(found) > query.max_points
    sent = found[: query.max_points]
    buckets = (
        Bucket(*point, point.value, point.value, point.value, 1, point.value is not None)
        for _, point in sent
    )
    seq = sent[-1][0] if has_more else job.seq
    return _answer(job, query, _curves(buckets, names, query), signer, seq=seq, has_more=has_more)


def _answer(
    job: Job,
    query: Query,
    curves: list[SeriesOut],
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
        series=curves,
        next=None if over else signer.sign(seq, _purpose(job, query)),
        has_more=has_more,
    )


def _purpose(job: Job, query: Query) -> list[object]:
    return ["metrics", job.id, query.keys and sorted(query.keys)]


def _curves(buckets: Iterable[Bucket], names: dict[int, str], query: Query) -> list[SeriesOut]:
    found: dict[int, list[Bucket]] = {series_id: [] for series_id in names}
    for bucket in buckets:
        found[bucket.series_id].append(bucket)
    return [_curve(names[series_id], part, query) for series_id, part in found.items() if part]


def _curve(key: str, buckets: Sequence[Bucket], query: Query) -> SeriesOut:
    count = sum(bucket.rows for bucket in buckets)
    bounded = query.agg == "minmax"
    return SeriesOut(
        key=key,
        x=[getattr(bucket, query.x) for bucket in buckets],
        y=[bucket.mean if query.agg == "mean" else bucket.value for bucket in buckets],
        y_min=[bucket.low for bucket in buckets] if bounded else None,
        y_max=[bucket.high for bucket in buckets] if bounded else None,
        count=count,
        nonfinite=count - sum(bucket.finite for bucket in buckets),
        sampled=count > len(buckets),
    )
