"""Properties of the sampling, whatever the curve."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db import Database
from app.ids import new_id
from app.metrics import repository
from app.metrics.repository import Bucket
from app.tables import DEFAULT_PROJECT, Job

VALUES = st.lists(
    st.none() | st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3)), max_size=60
)


@given(values=VALUES, gap=st.integers(1, 1000), points=st.integers(2, 70))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_sampling(database: Database, values: list[float | None], gap: int, points: int) -> None:
    steps = [index * gap for index in range(len(values))]
    written = [
        ("a", step, step / 2, step * 3.0, value) for step, value in zip(steps, values, strict=True)
    ]
    buckets = sampled(database, written, points)

    assert len(buckets) == min(len(values), points)
    assert [bucket.step for bucket in buckets] == sorted({bucket.step for bucket in buckets})
    assert sum(bucket.rows for bucket in buckets) == len(values)
    assert sum(bucket.finite for bucket in buckets) == len([v for v in values if v is not None])
    if not values:
        return
    assert (buckets[0].step, buckets[-1].step) == (steps[0], steps[-1])
    assert buckets[0].rows == 1
    position = 0
    for bucket in buckets:
        inside = values[position : position + bucket.rows]
        position += bucket.rows
        finite = [value for value in inside if value is not None]
        assert bucket.step == steps[position - 1]
        assert (bucket.epoch, bucket.time) == (bucket.step / 2, bucket.step * 3.0)
        assert bucket.value == inside[-1]
        assert bucket.low == min(finite, default=None)
        assert bucket.high == max(finite, default=None)
        if finite:
            assert bucket.mean is not None
            assert abs(bucket.mean - sum(finite) / len(finite)) < 1e-6
        else:
            assert bucket.mean is None
    # Buckets of neighbours differ by one row at most, but for the two at the ends.
    sizes = [bucket.rows for bucket in buckets[1:-1]]
    assert not sizes or max(sizes) - min(sizes) <= 1


def sampled(database: Database, written: list[tuple[object, ...]], points: int) -> list[Bucket]:
    job_id = new_id("job")
    with database.transaction() as session:
        session.add(
            Job(id=job_id, project_id=DEFAULT_PROJECT, name="", spec={}, progress={}, labels={})
        )
        session.flush()
        repository.append(session, job_id, 1, written)
    with database.reading() as session:
        ids = list(repository.series(session, job_id, None))
        up_to = max(len(written), 1)
        return list(repository.sample(session, ids, up_to_seq=up_to, points=points))
