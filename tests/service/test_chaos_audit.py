"""That the audit of a chaos run finds what is wrong: each thing planted, one at a time."""

import hashlib
from types import SimpleNamespace

import pytest

from app.states import State
from benchmarks.chaos import audit
from benchmarks.chaos.kinds import Kind, curves_of
from benchmarks.chaos.table import table
from benchmarks.chaos.work import Submitted
from tests.workers.rows import add_job, set_job
from workers import shelf
from workers.ledger import Ledger
from workers.shelf import Made


class Scene:
    """One job that succeeded as its client wanted, in its second attempt."""

    def __init__(self, database, storage, settings) -> None:
        self.service = SimpleNamespace(database=database, home=settings.home, settings=settings)
        self.storage = storage
        self.ledger = Ledger(database, lease_s=60, max_attempts=3)
        self.job = add_job(database)
        set_job(database, self.job, name="chaos-0")
        self.first = self.ledger.claim(self.job, "w")
        self.ledger.release(self.first, reason="killed", fruitless=True)
        self.second = self.ledger.claim(self.job, "w")
        points = [["train/loss", 1, 0.1, 1.7e9, 0.5]]
        self.ledger.write(self.second, progress={"step": 1}, phase="training", points=points)
        self.student = self.stored(b"student")
        self.publish(self.second, "student", self.student)
        self.ledger.finish(self.second, State.SUCCEEDED, reason="finished")
        self.sha256 = self.student
        kind = Kind("kind", {}, self.student, curves_of(database, self.job))
        self.client = SimpleNamespace(
            made={"chaos-0": {self.job}}, student_sha256=lambda job: self.sha256
        )
        self.work = SimpleNamespace(jobs={self.job: Submitted("chaos-0", kind)})

    def stored(self, content: bytes) -> str:
        with self.storage.writer() as writer:
            writer.write(content)
            return writer.commit()[0]

    def publish(self, hold, kind: str, sha256: str) -> None:
        self.ledger.publish(hold, Made(f"{kind}.bin", kind, "bin", sha256, 7))

    def wrong(self) -> dict[str, int]:
        found = audit.Audit()
        audit.of_jobs(found, self.service, self.client, self.work)
        return {what: count for what, count in found.wrong.items() if count}


@pytest.fixture
def scene(database, storage, settings):
    return Scene(database, storage, settings)


def test_a_run_without_fault_has_none(scene):
    assert scene.wrong() == {}


@pytest.mark.parametrize("state", ["failed", "running", "cancelled"])
def test_a_job_that_did_not_end_as_wanted_is_lost(scene, database, state):
    set_job(database, scene.job, state=state)
    assert scene.wrong() == {"lost": 1}


def test_two_answers_to_one_key_are_found(scene):
    scene.client.made["chaos-0"].add("job_other")
    assert scene.wrong() == {"accepted twice": 1}


def test_two_jobs_of_one_name_are_found(scene, database):
    set_job(database, add_job(database), name="chaos-0")
    assert scene.wrong() == {"accepted twice": 2}  # and nobody knows of the second


def test_another_student_is_found(scene):
    scene.sha256 = hashlib.sha256(b"another").hexdigest()
    assert scene.wrong() == {"students unlike the undisturbed one": 1}


def test_a_missing_point_is_found(scene):
    scene.work.jobs[scene.job].kind.curves["train/loss"].append((2, 0.4))
    assert scene.wrong() == {"curves unlike the undisturbed ones": 1}


def test_a_write_with_an_old_token_is_found(scene, database):
    """As if nothing had fenced the first attempt."""
    with database.transaction() as session:
        made = Made("late.bin", "checkpoint", "bin", scene.student, 7)
        shelf.put(session, scene.job, scene.first.token, made, lambda _: True)
    assert scene.wrong() == {"stale writes accepted": 1}


def test_bytes_are_compared_with_their_rows(scene, database):
    def wrong() -> dict[str, int]:
        found = audit.Audit()
        audit.of_bytes(found, scene.service, set(), {})
        return {what: count for what, count in found.wrong.items() if count}

    dataset = wrong()  # the data set of these rows has no bytes
    assert dataset == {"bytes lost or damaged": 1}
    path = scene.storage.path(scene.student)
    path.chmod(0o644)
    path.write_bytes(b"STUDENT")
    assert wrong() == {"bytes lost or damaged": 2}
    path.unlink()
    assert wrong() == {"bytes lost or damaged": 2}


def test_columns_of_different_set_ups_share_their_rows():
    first = [("jobs", 1000), ("- a", 1), ("- c", 1), ("lost", 0)]
    second = [("jobs", 2), ("- a", 1), ("- b", 1), ("lost", 0)]
    assert table({"one": first, "two": second}).splitlines()[2:] == [
        "| jobs | 1,000 | 2 |",
        "| - a | 1 | 1 |",
        "| - b | - | 1 |",
        "| - c | 1 | - |",
        "| lost | 0 | 0 |",
    ]
