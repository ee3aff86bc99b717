"""Claims, leases and fencing, on both databases."""

import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import select
from sqlalchemy.exc import InternalError

from app.db import Database
from app.states import State
from app.tables import Artifact, Job, JobEvent, MetricPoint
from tests.workers.rows import ZERO, add_job, expire, job, set_job
from workers.claims import Claim
from workers.ledger import Fenced, Ledger
from workers.shelf import Made

LEASE_S = 60.0
PROBLEM = {"title": "t", "status": 422, "code": "bad", "detail": "d"}


@pytest.fixture
def ledger(database):
    return Ledger(database, lease_s=LEASE_S, max_attempts=3)


def taken(ledger: Ledger, job_id: str) -> Claim:
    claim = ledger.claim(job_id, "w")
    assert claim is not None
    return claim


def point(step: int, value: float | None = 0.5) -> list[object]:
    return ["train/loss", step, step / 10, 1.7e9 + step, value]


def checkpoint(step: int, *, best: bool = False, stage: int = 0) -> Made:
    facts = {"stage": stage, "step": step, "best": best}
    return Made(f"checkpoint-{step}", "checkpoint", "safetensors", f"{step:064x}", 10, facts)


def steps(database: Database) -> list[int]:
    with database.reading() as session:
        return sorted(session.scalars(select(MetricPoint.step)))


def names(database: Database) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(Artifact.name)))


def test_a_claim_takes_a_queued_job_once(ledger, database):
    job_id = add_job(database)
    claim = taken(ledger, job_id)
    assert (claim.token, claim.attempt) == (1, 1)
    assert claim.dataset is not None
    row = job(database, job_id)
    assert row.state == "running"
    assert row.worker == "w"
    assert row.started_at is not None
    assert abs((row.lease_until - row.started_at).total_seconds() - LEASE_S) < 1
    assert ledger.claim(job_id, "another") is None
    assert ledger.claim("job_none", "w") is None


def test_of_many_claims_at_once_one_wins(ledger, database):
    for _ in range(5):
        job_id = add_job(database)
        start = threading.Barrier(4)
        won: list[Claim] = []

        def race(job_id: str = job_id, start: threading.Barrier = start, won=won) -> None:
            start.wait()
            if claim := ledger.claim(job_id, "w"):
                won.append(claim)

        threads = [threading.Thread(target=race) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [claim.token for claim in won] == [1]


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED, State.PAUSED])
def test_what_is_not_queued_is_not_taken(ledger, database, state):
    job_id = add_job(database)
    set_job(database, job_id, state=state)
    assert ledger.claim(job_id, "w") is None


def test_writing_extends_the_lease_and_numbers_the_points(ledger, database):
    job_id = add_job(database)
    claim = taken(ledger, job_id)
    set_job(database, job_id, lease_until=None)
    before = job(database, job_id).seq
    progress = ZERO | {"step": 3}
    state = ledger.write(claim, progress=progress, phase="training", points=[point(1), point(2)])
    assert state is State.RUNNING
    row = job(database, job_id)
    assert row.progress == progress
    assert row.phase == "training"
    assert row.seq == before + 2
    assert row.lease_until is not None
    with database.reading() as session:
        assert set(session.scalars(select(MetricPoint.seq))) == {before + 1, before + 2}


def test_a_request_to_cancel_is_seen_when_writing(ledger, database):
    job_id = add_job(database)
    claim = taken(ledger, job_id)
    set_job(database, job_id, state=State.CANCELLING)
    assert ledger.write(claim, progress=ZERO, phase="x") is State.CANCELLING


WRITES: list[Callable[[Ledger, Claim], object]] = [
    lambda ledger, claim: ledger.write(claim, progress={}, phase="stale", points=[point(9)]),
    lambda ledger, claim: ledger.resolve(claim, {"device": "stale"}),
    lambda ledger, claim: ledger.publish(claim, checkpoint(9)),
    lambda ledger, claim: ledger.finish(claim, State.SUCCEEDED, reason="stale"),
    lambda ledger, claim: ledger.finish(claim, State.FAILED, reason="stale", error=PROBLEM),
    lambda ledger, claim: ledger.release(claim, reason="stale", fruitless=True),
]


@pytest.mark.parametrize("write", WRITES)
def test_an_old_token_writes_nothing(ledger, database, write):
    job_id = add_job(database)
    old = taken(ledger, job_id)
    expire(database, job_id)
    new = taken(ledger, job_id)
    assert new.token == old.token + 1
    with database.reading() as session:
        audit = session.scalars(select(JobEvent.seq)).all()
    before = vars(job(database, job_id)).copy()
    with pytest.raises(Fenced):
        write(ledger, old)
    after = vars(job(database, job_id)).copy()
    before.pop("_sa_instance_state")
    after.pop("_sa_instance_state")
    assert after == before
    assert steps(database) == []
    assert names(database) == set()
    with database.reading() as session:
        assert session.scalars(select(JobEvent.seq)).all() == audit


@pytest.mark.parametrize("write", WRITES)
def test_after_the_end_nothing_is_written(ledger, database, write):
    claim = taken(ledger, add_job(database))
    assert ledger.finish(claim, State.SUCCEEDED, reason="done") is State.SUCCEEDED
    with pytest.raises(Fenced):
        write(ledger, claim)


def test_a_lease_that_runs_out_gives_the_job_to_the_next(ledger, database):
    job_id = add_job(database)
    first = taken(ledger, job_id)
    assert ledger.claim(job_id, "w2") is None
    expire(database, job_id)
    second = taken(ledger, job_id)
    assert (second.attempt, second.token) == (2, 2)
    assert second.seconds_held >= 0
    with pytest.raises(Fenced):
        ledger.write(first, progress=ZERO, phase="x")
    with database.reading() as session:
        moves = session.scalars(select(JobEvent).order_by(JobEvent.seq)).all()
    assert [move.to_state for move in moves] == ["running", "queued", "running"]
    assert "not heard of" in moves[1].reason


def test_the_next_attempt_forgets_metrics_past_its_checkpoint(ledger, database):
    job_id = add_job(database)
    claim = taken(ledger, job_id)
    ledger.write(claim, progress=ZERO, phase="x", points=[point(step) for step in range(1, 6)])
    ledger.publish(claim, checkpoint(3))
    assert ledger.release(claim, reason="test", fruitless=True) is State.QUEUED
    claim = taken(ledger, job_id)
    assert [made.facts["step"] for made in claim.checkpoints] == [3]
    assert steps(database) == [1, 2, 3]


def test_without_a_checkpoint_all_metrics_are_forgotten(ledger, database):
    job_id = add_job(database)
    claim = taken(ledger, job_id)
    ledger.write(claim, progress=ZERO, phase="x", points=[point(0), point(1)])
    ledger.release(claim, reason="test", fruitless=True)
    taken(ledger, job_id)
    assert steps(database) == []


def test_two_checkpoints_are_kept_and_the_best(ledger, database):
    claim = taken(ledger, add_job(database))
    for step in range(1, 7):
        ledger.publish(claim, checkpoint(step, best=step in (1, 2)))
    assert names(database) == {"checkpoint-2", "checkpoint-5", "checkpoint-6"}
    with database.reading() as session:
        best = [row.name for row in session.scalars(select(Artifact)) if row.facts["best"]]
    assert best == ["checkpoint-2"]


def test_attempts_without_progress_are_counted_and_end_the_job(ledger, database):
    job_id = add_job(database)
    for attempt in (1, 2, 3):
        claim = taken(ledger, job_id)
        assert claim.attempt == attempt
        state = ledger.release(claim, reason="it died\nwith words", fruitless=True)
    assert state is State.FAILED
    row = job(database, job_id)
    assert row.error["code"] == "too_many_attempts"
    assert "it died." in row.error["detail"]
    assert "with words" not in row.error["detail"]
    assert row.finished_at is not None


def test_progress_gives_a_job_its_attempts_back(ledger, database):
    job_id = add_job(database)
    for step in range(1, 8):
        claim = taken(ledger, job_id)
        ledger.publish(claim, checkpoint(step))
        assert ledger.release(claim, reason="preempted", fruitless=True) is State.QUEUED
    # The same checkpoint again is no progress.
    for _ in range(2):
        claim = taken(ledger, job_id)
        ledger.publish(claim, checkpoint(7))
        state = ledger.release(claim, reason="preempted", fruitless=True)
    assert state is State.FAILED


def test_a_worker_that_is_shut_down_costs_no_attempt(ledger, database):
    job_id = add_job(database)
    for _ in range(5):
        state = ledger.release(taken(ledger, job_id), reason="shut down", fruitless=False)
    assert state is State.QUEUED


@pytest.mark.parametrize(
    ("asked", "becomes"),
    [(State.CANCELLING, State.CANCELLED), (State.PAUSING, State.PAUSED)],
)
def test_an_attempt_that_ends_leaves_the_job_where_it_was_wanted(ledger, database, asked, becomes):
    job_id = add_job(database)
    claim = taken(ledger, job_id)
    set_job(database, job_id, state=asked)
    assert ledger.release(claim, reason="stopped", fruitless=False) is becomes
    assert job(database, job_id).lease_until is None


def test_a_job_that_finishes_while_being_cancelled_is_cancelled(ledger, database):
    job_id = add_job(database)
    claim = taken(ledger, job_id)
    set_job(database, job_id, state=State.CANCELLING)
    assert ledger.finish(claim, State.SUCCEEDED, reason="done") is State.CANCELLED
    assert not job(database, job_id).error


def test_what_auto_became_is_kept(ledger, database):
    job_id = add_job(database)
    claim = taken(ledger, job_id)
    resolved = {"device": "cpu", "threads": 2, "precision": "fp32"}
    ledger.resolve(claim, resolved)
    ledger.release(claim, reason="test", fruitless=True)
    assert taken(ledger, job_id).resolved == resolved


def test_recovery_ends_silent_attempts_and_no_others(ledger, database):
    silent, cancelled, living, queued = (add_job(database) for _ in range(4))
    for job_id in (silent, cancelled, living):
        taken(ledger, job_id)
    set_job(database, cancelled, state=State.CANCELLING)
    expire(database, silent)
    expire(database, cancelled)
    assert set(ledger.recover()) == {silent, cancelled}
    states = {job_id: job(database, job_id).state for job_id in (silent, cancelled, living, queued)}
    assert states == {
        silent: "queued",
        cancelled: "cancelled",
        living: "running",
        queued: "queued",
    }


def test_the_time_that_attempts_took_is_added_up(ledger, database):
    job_id = add_job(database)
    for _ in range(2):
        claim = taken(ledger, job_id)
        time.sleep(0.05)
        ledger.release(claim, reason="test", fruitless=False)
        time.sleep(0.5)  # nobody holds it, and this does not count
    assert 0.1 <= taken(ledger, job_id).seconds_held < 0.9


def test_recovery_goes_past_a_row_that_a_stopped_process_holds(ledger, database, request):
    if database.engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time: there are no locks on rows")
    stuck, silent = add_job(database), add_job(database)
    for job_id in (stuck, silent):
        taken(ledger, job_id)
        expire(database, job_id)
    stopped = Database(str(database.engine.url.render_as_string(False)), idle_limit_s=1.0)
    with stopped.engine.connect() as connection:
        connection.execute(select(Job.id).where(Job.id == stuck).with_for_update())
        assert ledger.recover() == [silent]
        time.sleep(1.2)  # what is idle for so long holds nothing any more
        assert ledger.recover() == [stuck]
        with pytest.raises(InternalError, match="idle"):
            connection.execute(select(1))
    stopped.close()
