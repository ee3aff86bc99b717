"""What nobody heard of is rung for again, by one sweeper at a time."""

import threading
import time

import pytest

from app import tallies
from app.db import now_plus
from app.ids import new_id
from app.tables import DEFAULT_PROJECT, Dataset, Evaluation, KnowledgeReport, Worker
from tests.workers.rows import add_dataset, add_job, expire, job, set_job
from workers.election import elected
from workers.ledger import Ledger
from workers.roster import Roster
from workers.sweeper import Sweeper
from workers.ticker import Ticker, Watchdog


class Bell:
    """Notes who was rung for."""

    def __init__(self) -> None:
        self.rung: list[tuple[str, str]] = []

    def run_job(self, job_id: str, priority: str) -> None:
        self.rung.append((job_id, priority))

    def inspect_teacher(self, teacher_id: str) -> None:
        self.rung.append((teacher_id, "light"))

    inspect_dataset = evaluate = report_knowledge = inspect_teacher


@pytest.fixture
def bell():
    return Bell()


@pytest.fixture
def waiting():
    return {}


@pytest.fixture
def sweeper(settings, database, bell, waiting):
    settings.home.mkdir(parents=True, exist_ok=True)
    return Sweeper(
        database=database,
        ledger=Ledger(database, lease_s=60, max_attempts=3),
        doorbell=bell,
        waiting=lambda queue: waiting.get(queue, 0),
        home=settings.home,
    )


def test_old_queued_jobs_are_rung_for_in_their_queue(sweeper, database, bell, waiting):
    old = add_job(database)
    high = add_job(database, priority="high")
    for job_id in (old, high):
        set_job(database, job_id, created_at=now_plus(-10))
    add_job(database)  # its message is on the way
    sweeper.sweep()
    assert bell.rung == [(high, "high"), (old, "normal")]
    bell.rung.clear()
    waiting["train"] = 1
    sweeper.sweep()
    assert bell.rung == [(high, "high")], "what still waits in the broker is not rung for again"


def test_a_silent_attempt_is_ended_and_rung_for(sweeper, database, bell):
    job_id = add_job(database)
    set_job(database, job_id, created_at=now_plus(-10))
    assert sweeper._ledger.claim(job_id, "w")
    sweeper.sweep()
    assert bell.rung == []
    expire(database, job_id)
    sweeper.sweep()
    assert job(database, job_id).state == "queued"
    assert bell.rung == [(job_id, "normal")]


def test_what_was_done_is_counted(sweeper, database):
    """By all sweepers together, in the database."""
    job_id = add_job(database)
    set_job(database, job_id, created_at=now_plus(-10))
    for _ in range(3):
        assert sweeper._ledger.claim(job_id, "w")
        expire(database, job_id)
        sweeper.sweep()
    assert job(database, job_id).state == "failed"
    with database.reading() as session:
        counts = {name: tally.value for name, tally in tallies.all_of_them(session).items()}
    assert counts == {"sweeps": 3, "recovered": 3, "rung": 2, "poisoned": 1}


def test_a_resource_that_is_checked_for_too_long_is_rung_for(sweeper, database, bell):
    identity = new_id("dst")
    with database.transaction() as session:
        session.add(
            Dataset(
                id=identity, project_id=DEFAULT_PROJECT, name="d", spec={}, created_at=now_plus(-40)
            )
        )
        session.add(Dataset(id=new_id("dst"), project_id=DEFAULT_PROJECT, name="young", spec={}))
    waits = evaluation(created_at=now_plus(-40))
    with database.transaction() as session:
        session.add_all([waits, evaluation(), evaluation(state="failed", created_at=now_plus(-40))])
        session.flush()
        waiting = waits.id
    sweeper.sweep()
    assert bell.rung == [(identity, "light"), (waiting, "light")]


def evaluation(**values):
    row = {"dataset_id": "dst_0", "split": "test", "network": {}, "sha256": "0", "key": "0"}
    return Evaluation(id=new_id("evl"), project_id=DEFAULT_PROJECT, **row, **values)


def test_a_report_that_nobody_makes_is_rung_for(sweeper, database, bell, waiting):
    """Its message was lost. Once it is made, or came to nothing, nobody is asked any more."""
    dataset = add_dataset(database)
    states = {"checking": new_id("rep"), "ready": new_id("rep"), "rejected": new_id("rep")}
    with database.transaction() as session:
        for state, identity in states.items():
            session.add(
                KnowledgeReport(
                    id=identity,
                    project_id=DEFAULT_PROJECT,
                    subject=state,
                    dataset_id=dataset,
                    key="k",
                    state=state,
                    created_at=now_plus(-40),
                )
            )
    waiting["light"] = 1
    sweeper.sweep()
    assert bell.rung == []
    waiting.clear()
    sweeper.sweep()
    assert bell.rung == [(states["checking"], "light")]


@pytest.mark.parametrize("office", ["sweeper", "ringer"])
def test_one_sweeps_at_a_time(sweeper, database, bell, office):
    silent, queued = add_job(database), add_job(database)
    assert sweeper._ledger.claim(silent, "w")
    expire(database, silent)
    for job_id in (silent, queued):
        set_job(database, job_id, created_at=now_plus(-10))
    with elected(database, sweeper._home, office) as chosen:
        assert chosen
        thread = threading.Thread(target=sweeper.sweep)
        thread.start()
        thread.join(5)
    assert job(database, silent).state == ("running" if office == "sweeper" else "queued")
    assert len(bell.rung) == (1 if office == "sweeper" else 0)
    sweeper.sweep()
    assert job(database, silent).state == "queued"
    assert {job_id for job_id, _ in bell.rung} == {silent, queued}


def test_workers_sign_in_and_off(database):
    roster = Roster(database, "train@here", "train")
    roster.join()
    roster.join()
    roster.describe({"device": "cpu", "memory_bytes": 1, "gflops": {"fp32": 2.0}})
    with database.reading() as session:
        row = session.get_one(Worker, "train@here")
    assert (row.device, row.queue, row.gflops) == ("cpu", "train", {"fp32": 2.0})
    time.sleep(0.01)
    roster.beat()
    with database.reading() as session:
        assert session.get_one(Worker, "train@here").seen_at > row.seen_at
    roster.leave()
    with database.reading() as session:
        assert session.get(Worker, "train@here") is None


def test_a_ticker_goes_on_after_a_failure():
    ticks = []

    def action() -> None:
        ticks.append(1)
        raise OSError("away")

    ticker = Ticker("t", 0.01, action)
    ticker.start()
    while len(ticks) < 3:
        time.sleep(0.01)
    ticker.stop()
    count = len(ticks)
    time.sleep(0.05)
    assert len(ticks) == count


def test_a_watchdog_barks_once_when_it_is_not_fed():
    barks = []
    watchdog = Watchdog(0.2, lambda: barks.append(1))
    for _ in range(6):
        time.sleep(0.05)
        watchdog.feed()
    assert not watchdog.barked
    time.sleep(0.5)
    assert watchdog.barked
    assert barks == [1]
    watchdog.stop()
    fed = Watchdog(0.1, lambda: barks.append(2))
    fed.stop()
    time.sleep(0.2)
    assert barks == [1]


def test_recovery_waits_for_no_broker_that_hangs(sweeper, database, monkeypatch):
    hangs, asked = threading.Event(), threading.Event()

    def waiting(queue: str) -> int:
        asked.set()
        assert hangs.wait(20)
        return 0

    monkeypatch.setattr(sweeper, "_waiting", waiting)
    job_id = add_job(database)
    assert sweeper._ledger.claim(job_id, "w")
    expire(database, job_id)
    ringing = threading.Thread(target=sweeper.ring)
    ringing.start()
    assert asked.wait(10)
    sweeper.recover()
    assert job(database, job_id).state == "queued"
    hangs.set()
    ringing.join(20)
    assert not ringing.is_alive()
