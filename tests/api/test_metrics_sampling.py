"""Properties of roll-ups and sampling, whatever the curve and however it was written."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from app.db import Database
from app.ids import new_id
from app.metrics import repository, rollups, writing
from app.metrics.repository import Buckets
from app.metrics.rollups import SCALE, Roller, Row, Sums, granule
from app.tables import DEFAULT_PROJECT, Job, MetricRollup, MetricSeries

VALUE = st.none() | st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))
VALUES = st.lists(VALUE, max_size=60)
BATCH = st.lists(st.tuples(st.integers(0, 80), VALUE), max_size=25)
SMALL_SIZES = (2, 4, 8)


@pytest.fixture
def small_rollups(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that short curves have some of each size."""
    monkeypatch.setattr(rollups, "SIZES", SMALL_SIZES)
    monkeypatch.setattr(writing, "SIZES", SMALL_SIZES)
    monkeypatch.setattr(rollups, "FINE", 3)
    monkeypatch.setattr(writing, "PIECE", 7)


class Bucket(NamedTuple):
    """One of `Buckets`."""

    row: Row
    sums: Sums
    rows: int


def lasting(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


@given(values=VALUES, gap=st.integers(1, 1000), points=st.integers(2, 70))
@lasting(60)
def test_short_curves(
    database: Database, values: list[float | None], gap: int, points: int
) -> None:
    rows = [Row(i * gap, i * gap / 2, i * gap * 3.0, value) for i, value in enumerate(values)]
    job_id = new_job(database)
    with database.transaction() as session:
        writing.append(session, job_id, 1, [("a", *row) for row in rows])
    buckets = sampled(database, job_id, points)
    assert_cut(buckets, rows, points, 1)
    assert len(buckets) == min(len(values), points)
    # Buckets of neighbours differ by one row at most, but for the two at the ends.
    sizes = [bucket.rows for bucket in buckets[1:-1]]
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(
    changes=st.lists(BATCH | st.integers(-1, 80), max_size=6),
    points=st.integers(2, 12),
)
@lasting(120)
@pytest.mark.usefixtures("small_rollups")
def test_rollups_tell_what_the_rows_tell(
    database: Database, changes: list[list[tuple[int, float | None]] | int], points: int
) -> None:
    """After appending, overwriting, inserting and forgetting (all after a step) in any order."""
    job_id = new_job(database)
    there: dict[int, float | None] = {}
    seq = 1
    for change in changes:
        with database.transaction() as session:
            if isinstance(change, int):
                writing.delete_after(session, job_id, change)
                there = {step: there[step] for step in there if step <= change}
                continue
            sent = [("a", step, step / 2, 3.0 * step, value) for step, value in change]
            writing.append(session, job_id, seq, sent)
            there.update(change)
            seq += len(change)
    rows = stored(database, job_id)
    assert {row.step: row.value for row in rows} == there

    size = granule(len(rows), points)
    buckets = sampled(database, job_id, points)
    assert_cut(buckets, rows, points, size)
    assert_fresh_rollups(database, job_id, rows)
    with database.transaction() as session:  # as it was before there were any
        session.execute(update(MetricSeries).values(rows=None))
    assert_alike(buckets, sampled(database, job_id, points))


@given(values=st.lists(VALUE, max_size=40), cuts=st.lists(st.integers(0, 40), max_size=8))
@pytest.mark.usefixtures("small_rollups")
@lasting(200)
def test_batches_make_no_difference(values: list[float | None], cuts: list[int]) -> None:
    rows = [Row(step, 0.0, 0.0, value) for step, value in enumerate(values)]
    whole, pieces = Roller(), Roller()
    at_once = list(whole.feed(rows))
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    by_piece = []
    for start, end in pairwise(edges):
        by_piece += pieces.feed(rows[start:end])
        pieces = Roller(pieces.rows, pieces.step, [list(one) for one in pieces.open])
    assert by_piece == at_once
    assert vars(pieces) == vars(whole)


@pytest.mark.usefixtures("small_rollups")
def test_curves_from_before_there_were_rollups_get_them(database: Database) -> None:
    """With the next point that is written."""
    job_id = new_job(database)
    with database.transaction() as session:
        writing.append(session, job_id, 1, [("a", step, 0.0, 0.0, 1.0) for step in range(50)])
        session.execute(MetricRollup.__table__.delete())
        session.execute(update(MetricSeries).values(rows=None, step=None, open=None))
    with database.transaction() as session:
        writing.append(session, job_id, 51, [("a", 50, 0.0, 0.0, 2.0)])
    assert_fresh_rollups(database, job_id, stored(database, job_id))


def test_means_of_huge_values_are_finite(database: Database) -> None:
    job_id = new_job(database)
    with database.transaction() as session:
        sent = [("a", step, 0.0, 0.0, 1.7e308) for step in range(20_000)]
        writing.append(session, job_id, 1, sent)
    for points in (2, 1000):
        assert sampled(database, job_id, points)[-1].sums.mean == pytest.approx(1.7e308)


@pytest.mark.parametrize(
    ("rows", "points", "size"),
    [
        (16_001, 1000, 1),
        (16_002, 1000, 16),
        (16_002, 2, 16),
        (160_001, 10_000, 1),
        (160_002, 10_000, 16),
        (1_000_000, 1000, 256),
        (10**9, 2, 4096),
    ],
)
def test_rows_that_stay_together(rows: int, points: int, size: int) -> None:
    assert granule(rows, points) == size


def new_job(database: Database) -> str:
    job_id = new_id("job")
    with database.transaction() as session:
        session.add(
            Job(
                id=job_id,
                project_id=DEFAULT_PROJECT,
                name="",
                spec={},
                progress={},
                labels={},
            )
        )
    return job_id


def sampled(database: Database, job_id: str, points: int) -> list[Bucket]:
    with database.snapshot() as session:
        curves = repository.curves(session, job_id, None)
        found = repository.sample(session, curves, points=points)
        if not found:
            return []
        columns: Buckets = found[curves[0].id]
        return [
            Bucket(Row(*one[:4]), Sums(*one[4:8]), one[8]) for one in zip(*columns, strict=True)
        ]


def stored(database: Database, job_id: str) -> list[Row]:
    with database.reading() as session:
        curves = repository.curves(session, job_id, None)
        if not curves:
            return []
        return repository.rows_of(session, curves[0].id, after_step=None, limit=10**6)


def assert_cut(buckets: list[Bucket], rows: list[Row], points: int, size: int) -> None:
    """Into parts of `size` between the first row and the last one, and these into buckets."""
    inner = [rows[at : min(at + size, len(rows) - 1)] for at in range(1, len(rows) - 1, size)]
    wanted: dict[int, list[Row]] = {0: rows[:1]}
    for number, part in enumerate(inner):
        place = number * (points - 2) // len(inner) if len(inner) > points - 2 else number
        wanted.setdefault(1 + place, []).extend(part)
    if len(rows) > 1:
        wanted.setdefault(points - 1, []).append(rows[-1])
    parts = [wanted[place] for place in sorted(wanted) if wanted[place]]
    assert len(buckets) == len(parts) <= points
    for bucket, part in zip(buckets, parts, strict=True):
        finite = [row.value for row in part if row.value is not None]
        assert (bucket.row, bucket.rows) == (part[-1], len(part))
        assert bucket.sums.finite == len(finite)
        assert bucket.sums.low == min(finite, default=None)
        assert bucket.sums.high == max(finite, default=None)
        if finite:
            assert bucket.sums.mean == pytest.approx(math.fsum(finite) / len(finite), abs=1e-6)
        else:
            assert bucket.sums.mean is None


def assert_alike(ours: Sequence[Bucket], theirs: Sequence[Bucket]) -> None:
    """Equal, but for the order in which the mean was added up."""
    for one, other in zip(ours, theirs, strict=True):
        assert one._replace(sums=one.sums[:2]) == other._replace(sums=other.sums[:2])
        assert one.sums.total / SCALE == pytest.approx(other.sums.total / SCALE, abs=1e-6)


def assert_fresh_rollups(database: Database, job_id: str, rows: list[Row]) -> None:
    """What is stored is what the rows give when they all come at once, in order."""
    roller = Roller()
    expected = sorted(roller.feed(rows))
    columns = [MetricRollup.__table__.c[name] for name in rollups.Rollup._fields]
    with database.reading() as session:
        curve = session.scalars(select(MetricSeries).where(MetricSeries.job_id == job_id)).first()
        found = select(*columns).where(MetricRollup.series_id == (curve.id if curve else 0))
        assert sorted(tuple(row) for row in session.execute(found)) == expected
    if curve is not None:
        state = (curve.rows, curve.step, [Sums(*one) for one in curve.open or []])
        assert state == (roller.rows, roller.step, roller.open)
