"""What a supervisor makes of its trainer's life and death; the trainers do as they are told."""

import errno
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app.logs import pieces
from app.settings import Settings
from app.states import State, transition
from app.storage import StorageAway
from app.tables import Artifact, Job, JobEvent, MetricPoint
from tests.workers.fakes import Bell, fake_trainer
from tests.workers.rows import add_dataset, add_job, expire, job, set_job
from workers.ledger import Ledger
from workers.processes import Spawner
from workers.standby import Standby
from workers.supervisor import Supervisor

LEASE_S = 3.0
TINY = {"family": "mlp", "inputs": 4, "classes": 2}


class World:
    """A worker around one scripted trainer."""

    def __init__(self, settings: Settings, database, storage, *, grace_s: float = 1.0) -> None:
        self.settings = settings.model_copy(update={"lease_s": LEASE_S, "cancel_grace_s": grace_s})
        self.settings.home.mkdir(parents=True, exist_ok=True)
        self.database = database
        self.storage = storage
        self.ledger = Ledger(database, lease_s=LEASE_S, max_attempts=3)
        self.bell = Bell()
        self.shutdown = threading.Event()
        self.spawner = Spawner()
        self.trainers: list[psutil.Process] = []
        prepared = self.settings.home / "prepared"
        prepared.write_bytes(b"examples")
        sha256, _ = storage.put_file(prepared)
        self.dataset = add_dataset(database, sha256=sha256)

    def job(self, **spec) -> str:
        return add_job(self.database, self.dataset, **spec)

    def worker(self, body: str) -> tuple[Supervisor, Standby]:
        """Whose trainers run `body`."""

        def spawn():
            trainer = fake_trainer(self.spawner, self.settings.home, body)
            self.trainers.append(psutil.Process(trainer.pid))
            return trainer

        standby = Standby(spawn, size=0)
        supervisor = Supervisor(
            ledger=self.ledger,
            storage=self.storage,
            standby=standby,
            doorbell=self.bell,  # type: ignore[arg-type]
            settings=self.settings,
            worker="w",
            shutdown=self.shutdown,
        )
        return supervisor, standby

    def run(self, job_id: str, body: str, *, go_on: bool = False) -> Job:
        """One attempt, or with `go_on` all that a ring leads to; the row afterwards."""
        supervisor, standby = self.worker(body)
        (supervisor.run if go_on else supervisor.attempt)(job_id)
        standby.close()
        assert not any(trainer.is_running() for trainer in self.trainers), "a stray trainer"
        assert not (self.settings.home / "runs" / job_id / "1").exists()
        return job(self.database, job_id)

    def start(self, job_id: str, body: str) -> threading.Thread:
        """As `run`, in a thread; returns once the trainer has made a step."""
        thread = threading.Thread(target=self.run, args=(job_id, body))
        thread.start()
        self.until(lambda row: row.progress["step"] > 0, job_id)
        return thread

    def until(self, true, job_id: str) -> Job:
        deadline = time.monotonic() + 10
        while not true(row := job(self.database, job_id)):
            assert time.monotonic() < deadline, f"still {row.state} {row.phase} {row.progress}"
            time.sleep(0.01)
        return row

    def artifacts(self) -> dict[str, Artifact]:
        with self.database.reading() as session:
            return {row.name: row for row in session.scalars(select(Artifact))}

    def reasons(self, job_id: str) -> list[str]:
        with self.database.reading() as session:
            where = JobEvent.job_id == job_id
            return list(
                session.scalars(select(JobEvent.reason).where(where).order_by(JobEvent.seq))
            )

    def log(self, job_id: str) -> str:
        with self.database.reading() as session:
            return pieces.read(session, job_id).content.decode()

    def steps(self) -> list[int]:
        with self.database.reading() as session:
            return sorted(session.scalars(select(MetricPoint.step)))


@pytest.fixture
def world(settings, database, storage):
    world = World(settings, database, storage)
    yield world
    world.spawner.close()


FINISHES = """
events.send("resolved", device="cpu", threads=1, precision="fp32")
events.send("phase", phase="training")
for step in range(1, 4):
    progress(step)
publish("checkpoint", "checkpoint-3", 3, "c", best=True)
publish("deliverable", "stage-0", 3, "d")
publish("artifact", "student.safetensors", 3, "s", kind="student", format="safetensors")
events.send("done")
time.sleep(60)
"""


def test_trainings_side_by_side_have_slots_of_their_own(world):
    """By which they find GPUs of their own."""
    told = world.settings.home / "told"
    told.mkdir()
    body = f"""
slot = json.loads(Path(order["job_file"]).read_text())["slot"]
(Path({str(told)!r}) / f"{{os.getpid()}}-{{slot}}").touch()
while len(list(Path({str(told)!r}).iterdir())) < 2:
    time.sleep(0.01)
{FINISHES}"""
    supervisor, standby = world.worker(body)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(supervisor.attempt, [world.job(), world.job()]))
    assert {path.name.partition("-")[2] for path in told.iterdir()} == {"0", "1"}
    supervisor.attempt(world.job())
    assert sorted(path.name.partition("-")[2] for path in told.iterdir()) == ["0", "0", "1"]
    standby.close()


def test_everything_that_is_told_is_written(world):
    job_id = world.job()
    row = world.run(job_id, FINISHES)
    assert row.state == "succeeded"
    assert row.resolved == {"device": "cpu", "threads": 1, "precision": "fp32"}
    assert row.progress["step"] == 3
    assert row.phase == "succeeded"
    with world.database.reading() as session:
        assert session.scalars(select(MetricPoint.step).order_by(MetricPoint.step)).all() == [
            1,
            2,
            3,
        ]
    artifacts = world.artifacts()
    assert {name: made.kind for name, made in artifacts.items()} == {
        "checkpoint-3": "checkpoint",
        "stage-0": "deliverable",
        "student.safetensors": "student",
    }
    assert artifacts["checkpoint-3"].facts == {"stage": 0, "step": 3, "best": True}
    student = artifacts["student.safetensors"]
    assert b"".join(world.storage.read(student.sha256)) == b"s"
    assert world.bell.rung == []


def test_one_ring_leads_to_all_that_is_queued_the_urgent_first(world):
    first = world.job()
    low, normal, high = (world.job(priority=name) for name in ("low", "normal", "high"))
    world.run(first, "progress(1)\nevents.send('done')", go_on=True)
    rows = [job(world.database, job_id) for job_id in (first, high, normal, low)]
    assert [row.state for row in rows] == ["succeeded"] * 4
    assert sorted(rows, key=lambda row: row.started_at) == rows


def test_a_problem_fails_the_job_with_it(world):
    problem = '{"status": 422, "code": "diverged", "title": "t", "detail": "The loss is NaN."}'
    row = world.run(world.job(), f"events.send('failed', problem={problem})")
    assert row.state == "failed"
    assert row.error["code"] == "diverged"


def test_a_trainer_that_is_killed_costs_one_attempt(world):
    job_id = world.job()
    body = "progress(1)\nprint('last words', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    row = world.run(job_id, body)
    assert (row.state, row.attempt, row.fruitless) == ("queued", 1, 1)
    assert world.bell.rung == [job_id]
    reason = world.reasons(job_id)[-1]
    assert "SIGKILL" in reason
    assert "last words" in reason
    assert "last words\n" in world.log(job_id)


def test_a_poison_job_ends(world):
    job_id = world.job()
    for _ in range(3):
        row = world.run(job_id, "sys.exit(3)")
    assert row.state == "failed"
    assert row.error["code"] == "too_many_attempts"
    assert "exit code 3" in row.error["detail"]
    assert world.bell.rung == [job_id, job_id]


@pytest.mark.parametrize(
    "body",
    [
        "os.write(events._file.fileno(), b'nonsense\\n'); time.sleep(60)",
        "(out.parent / 'elsewhere').write_text('x')\n"
        "events.send('artifact', name='n', kind='k', format='f', file='../elsewhere',"
        " sha256='0' * 64, size=1); time.sleep(60)",
        "(out / 'changed').write_text('x')\n"
        "events.send('artifact', name='n', kind='k', format='f', file='changed',"
        " sha256='0' * 64, size=1); time.sleep(60)",
        "events.send('progress'); time.sleep(60)",
    ],
    ids=["nonsense", "outside", "changed", "incomplete"],
)
def test_a_trainer_that_breaks_the_rules_is_killed(world, body):
    job_id = world.job()
    assert world.run(job_id, body).state == "queued"
    assert world.artifacts() == {}


def test_cancelling_asks_for_a_checkpoint(world):
    job_id = world.job()
    body = "progress(1)\nwait_for_sigterm()\npublish('checkpoint', 'c', 1, 'x', best=False)"
    thread = world.start(job_id, body + "\nevents.send('stopped')")
    set_job(world.database, job_id, state=State.CANCELLING)
    thread.join(10)
    assert job(world.database, job_id).state == "cancelled"
    assert set(world.artifacts()) == {"c"}
    assert world.bell.rung == []


def test_a_trainer_that_will_not_stop_is_killed(world):
    job_id = world.job()
    thread = world.start(job_id, "progress(1)\nwhile True: time.sleep(1)")
    set_job(world.database, job_id, state=State.CANCELLING)
    began = time.monotonic()
    thread.join(10)
    assert 0.9 < time.monotonic() - began < 4
    assert job(world.database, job_id).state == "cancelled"


def test_pausing_ends_the_attempt_not_the_job(world):
    job_id = world.job()
    thread = world.start(job_id, "progress(1)\nwait_for_sigterm()\nevents.send('stopped')")
    set_job(world.database, job_id, state=State.PAUSING)
    thread.join(10)
    row = job(world.database, job_id)
    assert (row.state, row.fruitless) == ("paused", 0)


def test_a_job_that_runs_too_long_fails_and_keeps_its_checkpoint(world):
    job_id = world.job(max_runtime_s=1)
    body = "progress(1)\nwait_for_sigterm()\npublish('checkpoint', 'c', 1, 'x', best=False)"
    row = world.run(job_id, body + "\nevents.send('stopped')")
    assert row.state == "failed"
    assert row.error["code"] == "max_runtime_exceeded"
    assert set(world.artifacts()) == {"c"}


def test_a_training_that_takes_too_much_memory_fails_at_once(world):
    world.settings = world.settings.model_copy(update={"process_memory_bytes": 200 * 2**20})
    job_id = world.job()
    body = "progress(1)\nheld = [bytearray(b'x' * 2**20) for _ in range(600)]\ntime.sleep(60)"
    row = world.run(job_id, body)
    assert (row.state, row.attempt, row.error["code"]) == ("failed", 1, "over_memory")
    assert world.bell.rung == []


def test_a_shutdown_costs_neither_work_nor_an_attempt(world):
    job_id = world.job()
    body = "progress(1)\nwait_for_sigterm()\npublish('checkpoint', 'c', 1, 'x', best=False)"
    thread = world.start(job_id, body + "\nevents.send('stopped')")
    world.shutdown.set()
    thread.join(10)
    row = job(world.database, job_id)
    assert (row.state, row.fruitless) == ("queued", 0)
    assert set(world.artifacts()) == {"c"}
    assert world.bell.rung == [job_id]
    world.run(job_id, "")
    assert job(world.database, job_id).attempt == 1, "a worker that is leaving takes nothing"


def test_a_lost_hold_kills_the_trainer_at_once(world):
    job_id = world.job()
    body = "progress(1)\nfor step in range(2, 10**6): progress(step); time.sleep(0.01)"
    thread = world.start(job_id, body)
    expire(world.database, job_id)
    claim = world.ledger.claim(job_id, "another")
    assert claim is not None
    thread.join(10)
    row = job(world.database, job_id)
    assert (row.state, row.token, row.worker) == ("running", claim.token, "another")
    assert world.bell.rung == []


def test_a_database_that_is_away_for_a_moment_costs_nothing(world, monkeypatch):
    job_id = world.job()
    body = "for step in range(1, 40): progress(step); time.sleep(0.05)\nevents.send('done')"
    real = world.ledger.write
    away = [True, True]

    def write(*args, **kwargs):
        if kwargs["progress"].get("step", 0) > 5 and away:
            away.pop()
            raise OperationalError("UPDATE", {}, Exception("connection refused"))
        return real(*args, **kwargs)

    monkeypatch.setattr(world.ledger, "write", write)
    row = world.run(job_id, body)
    assert (row.state, row.attempt) == ("succeeded", 1)
    assert not away
    assert world.steps() == list(range(1, 40))


def test_a_database_that_hangs_costs_the_trainer_its_life_within_the_lease(world, monkeypatch):
    """The one that writes hangs, so somebody else must do the killing."""
    job_id = world.job()
    released = threading.Event()
    body = "progress(1)\nwhile True: time.sleep(1)"
    real = world.ledger.write

    def write(*args, **kwargs):
        if kwargs["progress"].get("step", 0) > 0:
            released.wait(20)
            raise OperationalError("UPDATE", {}, Exception("timeout"))
        return real(*args, **kwargs)

    monkeypatch.setattr(world.ledger, "write", write)
    began = time.monotonic()
    thread = threading.Thread(target=world.run, args=(job_id, body))
    thread.start()
    while not world.trainers:
        time.sleep(0.01)
    while world.trainers[0].status() not in ("zombie", "terminated"):
        time.sleep(0.01)
        assert time.monotonic() - began < LEASE_S
    released.set()
    thread.join(10)
    row = job(world.database, job_id)
    assert row.state == "running", "given up in silence: the lease tells the others"


def test_a_stopped_supervisor_that_wakes_up_too_late_lets_go(world):
    """Its trainer is stopped for longer than the lease; another attempt has begun meanwhile."""
    job_id = world.job()
    thread = world.start(job_id, "progress(1)\nwhile True: time.sleep(0.1)")
    os.kill(world.trainers[0].pid, signal.SIGSTOP)
    expire(world.database, job_id)
    assert world.ledger.claim(job_id, "another")
    thread.join(10)
    assert not thread.is_alive()


NO_ROOM = """
from workers.runner import _telling
progress(1)
with _telling(events):
    with open("/dev/full", "w") as file:
        file.write("x")
"""


def test_a_full_disk_costs_no_attempt_and_the_job_rests(world):
    job_id = world.job()
    row = world.run(job_id, NO_ROOM, go_on=True)
    assert (row.state, row.attempt, row.fruitless, row.error) == ("queued", 1, 0, None)
    assert world.bell.rung == [], "not at once again"
    assert "No space left on device" in world.reasons(job_id)[-1]
    world.settings = world.settings.model_copy(update={"disk_full_pause_s": 0})
    for _ in range(4):
        assert world.run(job_id, NO_ROOM).fruitless == 0
    assert world.run(job_id, "events.send('done')").state == "succeeded"


def test_a_job_waits_for_room_and_spends_no_attempt(world):
    free = shutil.disk_usage(world.settings.home).free
    usual = world.settings
    small, large = world.job(), world.job(student={"network": {**TINY, "hidden": [2**16, 2**16]}})
    # 4.3e9 weights: 154 GB with two checkpoints of them.
    world.settings = usual.model_copy(update={"min_free_bytes": max(free - 10**11, 0)})
    assert (world.run(large, FINISHES).state, world.reasons(large)) == ("queued", [])
    assert world.run(small, FINISHES).state == "succeeded"
    assert job(world.database, large).attempt == 0
    world.settings = usual.model_copy(update={"min_free_bytes": 2 * free})
    assert world.run(other := world.job(), FINISHES, go_on=True).attempt == 0
    world.settings = usual
    assert world.run(other, FINISHES).state == "succeeded"


def test_a_full_storage_costs_no_attempt(world, monkeypatch):
    job_id = world.job()
    real = world.storage.put_file

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(world.storage, "put_file", full)
    row = world.run(job_id, "publish('checkpoint', 'c', 1, 'x', best=False)\ntime.sleep(60)")
    assert (row.state, row.fruitless) == ("queued", 0)
    assert world.artifacts() == {}
    monkeypatch.setattr(world.storage, "put_file", real)
    assert world.run(job_id, FINISHES).state == "succeeded"


def test_a_storage_that_is_away_costs_no_attempt(world, monkeypatch):
    job_id = world.job()
    real = world.storage.exists

    def away(sha256):
        raise StorageAway("nobody answers")

    monkeypatch.setattr(world.storage, "exists", away)
    for _ in range(4):
        row = world.run(job_id, "publish('checkpoint', 'c', 1, 'x', best=False)\ntime.sleep(60)")
        assert (row.state, row.fruitless) == ("queued", 0)
    assert world.bell.rung == [], "not at once again"
    assert "StorageAway" in world.reasons(job_id)[-1]
    monkeypatch.setattr(world.storage, "exists", real)
    assert world.run(job_id, FINISHES).state == "succeeded"


def test_a_published_checkpoint_leaves_the_run_folder(world):
    job_id = world.job()
    body = """
publish("checkpoint", "c", 1, "x", best=False)
publish("deliverable", "d", 1, "y")
while (out / "c").exists():
    time.sleep(0.01)
assert (out / "d").exists()
events.send("done")
"""
    assert world.run(job_id, body).state == "succeeded"
    assert b"".join(world.storage.read(world.artifacts()["c"].sha256)) == b"x"


def test_bytes_that_are_being_removed_are_stored_again(world, monkeypatch):
    answers = [False]
    real = world.storage.exists
    monkeypatch.setattr(
        world.storage, "exists", lambda sha256: answers.pop() if answers else real(sha256)
    )
    assert world.run(world.job(), FINISHES).state == "succeeded"
    assert not answers
    assert "checkpoint-3" in world.artifacts()


def test_a_dataset_that_is_gone_fails_no_worker(world):
    job_id = world.job()
    (made,) = list(world.storage.root.glob("??/*"))
    made.unlink()
    assert world.run(job_id, "").state == "queued"
    assert "FileNotFoundError" in world.reasons(job_id)[-1]


def test_the_log_goes_on_over_attempts(world):
    job_id = world.job()
    world.run(job_id, "print('one', flush=True)\nsys.exit(3)")
    world.run(job_id, "print('two', flush=True)\nevents.send('done')")
    lines = world.log(job_id).splitlines()
    assert [one for one in lines if not one.startswith("time=")] == ["one", "two"]
    told = [one.partition(" ")[2] for one in lines if one.startswith("time=")]
    assert told == [
        f'event="attempt begins" job={job_id} attempt=1',
        'event="attempt ended" attempt=1 '
        'how="the trainer ended with exit code 3 and without a result"',
        f'event="attempt begins" job={job_id} attempt=2',
        'event="attempt ended" attempt=2 how=done',
    ]


def test_the_log_of_a_running_job_is_there_within_seconds(world):
    job_id = world.job()
    body = "print('here', flush=True)\nwait_for_sigterm()\nevents.send('stopped')"
    running = threading.Thread(target=lambda: world.run(job_id, body))
    running.start()
    deadline = time.monotonic() + 10
    while "here\n" not in world.log(job_id):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert job(world.database, job_id).state == "running"
    with world.database.transaction() as session:
        transition(session, job_id, State.CANCELLING, reason="test")
    running.join()
    assert job(world.database, job_id).state == "cancelled"
    assert "attempt ended" in world.log(job_id)


def test_an_attempt_that_lost_its_hold_adds_nothing_to_the_log(world):
    job_id = world.job()
    body = "time.sleep(1)\nprint('stale', flush=True)\nprogress(1)\ntime.sleep(1)"
    running = threading.Thread(target=lambda: world.run(job_id, body))
    running.start()
    while job(world.database, job_id).state != "running":
        time.sleep(0.01)
    expire(world.database, job_id)
    assert world.ledger.claim(job_id, "another")
    running.join()
    assert "stale" not in world.log(job_id)


def test_neither_the_log_nor_the_trainer_knows_a_secret(world, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-1")
    monkeypatch.setenv("STILLHOUSE_DATABASE_URL", "postgresql://u:hush-2@h/d")
    monkeypatch.setenv("STILLHOUSE_BOOTSTRAP_KEY", "sh_hush-3")
    job_id = world.job()
    world.run(job_id, "print(dict(os.environ), order, flush=True)\nevents.send('done')")
    assert "STILLHOUSE_HOME" in world.log(job_id)
    assert "hush" not in world.log(job_id)
