"""What finished jobs leave behind goes when its days are over, and nothing else; both databases."""

import pytest
from sqlalchemy import select, update

from app import tallies
from app.db import now_plus
from app.metrics import writing
from app.settings import Settings
from app.tables import Artifact, AuditEntry, Job, MetricPoint, MetricSeries, Tally
from tests.workers.rows import add_dataset, add_job, set_job
from workers.blobcache import BlobCache
from workers.janitor import Janitor
from workers.retention import BATCH, Retention
from workers.shelf import Made, put

DAY_S = 86_400
KINDS = {
    "checkpoint-0-9.safetensors": "checkpoint",
    "stage-0.safetensors": "deliverable",
    "once-k.safetensors": "once",
    "student.safetensors": "student",
    "report.json": "report",
}


@pytest.fixture
def keep(settings: Settings, database):
    def retention(**days: float) -> Retention:
        changed = {f"keep_{what}_days": value for what, value in days.items()}
        return Retention(database, settings.model_copy(update=changed), every_s=0)

    return retention


@pytest.fixture
def dataset(database) -> str:
    return add_dataset(database)


def finished(database, storage, dataset: str, *, days: float, state: str = "succeeded") -> str:
    """A job that ended so many days ago, with something of each kind and a curve."""
    job_id = add_job(database, dataset)
    for name, kind in KINDS.items():
        with storage.writer() as writer:
            writer.write(f"{job_id} {name}".encode())
            sha256, size = writer.commit()
        with database.transaction() as session:
            made = Made(name, kind, "safetensors", sha256, size, {"stage": 0, "step": 9})
            put(session, job_id, 1, made, storage.exists)
    with database.transaction() as session:
        writing.append(session, job_id, 1, [("train/loss", step, 0.1, 0.0, 1.0) for step in (1, 2)])
    ended = None if state in ("running", "paused") else now_plus(-days * DAY_S)
    set_job(database, job_id, state=state, finished_at=ended, seq=2)
    return job_id


def kinds(database, job_id: str) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(Artifact.kind).where(Artifact.job_id == job_id)))


def curves(database, job_id: str) -> int:
    with database.reading() as session:
        return len(
            session.scalars(
                select(MetricPoint.step).join(MetricSeries).where(MetricSeries.job_id == job_id)
            ).all()
        )


def test_each_kind_has_its_days(keep, database, storage, dataset) -> None:
    old, young = (finished(database, storage, dataset, days=days) for days in (10, 3))
    assert keep(checkpoints=7).apply() == 1
    assert kinds(database, old) == {"student", "report"}
    assert kinds(database, young) == set(KINDS.values())
    assert keep(metrics=7).apply() == 1
    assert (curves(database, old), curves(database, young)) == (0, 2)
    assert keep(artifacts=7).apply() == 1
    assert kinds(database, old) == set()
    assert kinds(database, young) == set(KINDS.values())
    with database.reading() as session:
        told = session.execute(select(AuditEntry.action, AuditEntry.subject, AuditEntry.key_id))
        actions = ("expire_checkpoints", "expire_metrics", "expire_artifacts")
        assert told.all() == [(action, old, None) for action in actions]
        assert session.get_one(Job, old).state == "succeeded"
        assert session.get_one(Job, old).seq == 5, "a client's copy of the curves is stale"
        assert tallies.all_of_them(session)["expired"].value == len(KINDS) + 1


def test_nothing_is_on_by_default(settings, database, storage, dataset) -> None:
    job = finished(database, storage, dataset, days=1000)
    assert Retention(database, settings, every_s=0).apply() == 0
    assert kinds(database, job) == set(KINDS.values())


@pytest.mark.parametrize("state", ["running", "paused"])
def test_jobs_that_may_go_on_keep_everything(keep, database, storage, dataset, state) -> None:
    job = finished(database, storage, dataset, days=1000, state=state)
    assert keep(checkpoints=0, artifacts=0, metrics=0).apply() == 0
    assert kinds(database, job) == set(KINDS.values())
    assert curves(database, job) == 2


def test_failed_and_cancelled_jobs_have_ended_too(keep, database, storage, dataset) -> None:
    for state in ("failed", "cancelled"):
        job = finished(database, storage, dataset, days=2, state=state)
        assert keep(artifacts=1).apply() == 1
        assert "student" not in kinds(database, job)


def test_more_than_a_batch(keep, database, dataset) -> None:
    jobs = [add_job(database, dataset) for _ in range(BATCH + 5)]
    with database.transaction() as session:
        session.execute(update(Job).values(state="failed", finished_at=now_plus(-2 * DAY_S)))
        for job_id in jobs:
            writing.append(session, job_id, 1, [("train/loss", 1, 0.1, 0.0, 1.0)])
    assert keep(metrics=1).apply() == len(jobs)
    assert keep(metrics=1).apply() == 0


def test_once_an_hour_whoever_asks(settings, database, storage, dataset) -> None:
    changed = settings.model_copy(update={"keep_metrics_days": 1})
    retention = Retention(database, changed)
    assert retention.apply() == 0
    job = finished(database, storage, dataset, days=2)
    assert retention.apply() == 0
    with database.transaction() as session:
        session.get_one(Tally, "retentions").counted_at = now_plus(-3601)
    assert retention.apply() == 1
    assert curves(database, job) == 0


def test_the_janitor_does_it_and_the_bytes_follow(keep, settings, database, storage, dataset):
    job = finished(database, storage, dataset, days=2)
    with database.reading() as session:
        rows = session.scalars(select(Artifact).where(Artifact.job_id == job)).all()
        hashes = {row.kind: row.sha256 for row in rows}
    janitor = Janitor(
        database=database,
        storage=storage,
        cache=BlobCache(storage, settings.home, 0),
        home=settings.home,
        grace_s=0,
        stray_grace_s=3600,
        retention=keep(checkpoints=1),
    )
    janitor.clean()
    assert {kind for kind, sha256 in hashes.items() if storage.exists(sha256)} == {
        "student",
        "report",
    }
