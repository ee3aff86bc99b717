"""What a job file takes over from earlier attempts: only what is still what it was."""

from pathlib import Path

import pytest

from app.spec.jobfile import JobFile
from app.storage import StorageAway
from tests.workers.rows import add_dataset, add_job
from workers.ledger import Ledger
from workers.runs import Run
from workers.shelf import CHECKPOINT, DELIVERABLE, ONCE, Made


class Attempts:
    """A job's first attempt, which publishes files, and the next one, which is to go on."""

    def __init__(self, database, settings, storage) -> None:
        self.settings, self.storage = settings, storage
        self.ledger = Ledger(database, lease_s=60, max_attempts=3)
        settings.home.mkdir(parents=True, exist_ok=True)
        prepared = settings.home / "prepared"
        prepared.write_bytes(b"examples")
        dataset = add_dataset(database, sha256=storage.put_file(prepared)[0])
        self.job_id = add_job(database, dataset)
        self.first = self.ledger.claim(self.job_id, "w")

    def publish(self, kind: str, stage: int, step: int) -> Path:
        """The file's place in storage."""
        file = self.settings.home / f"{kind}-{stage}-{step}"
        file.write_bytes(file.name.encode() * 100)
        sha256, size = self.storage.put_file(file)
        file.unlink()
        facts = {"stage": stage, "step": step}
        made = Made(file.name, kind, "safetensors", sha256, size, facts)
        self.ledger.publish(self.first, made)
        return self.storage.path(sha256)

    def next(self) -> JobFile:
        self.ledger.release(self.first, reason="killed", fruitless=True)
        run = Run(self.settings, self.storage, self.ledger.claim(self.job_id, "w"))
        run.prepare()
        return JobFile.model_validate_json(run.job_file.read_bytes())


@pytest.fixture
def attempts(database, settings, storage):
    return Attempts(database, settings, storage)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def test_the_newest_checkpoint_and_every_finished_stage_are_taken_over(attempts):
    delivered = attempts.publish(DELIVERABLE, 0, 10)
    attempts.publish(CHECKPOINT, 1, 12)
    newest = attempts.publish(CHECKPOINT, 1, 14)
    file = attempts.next()
    assert [entry.sha256 for entry in file.deliverables] == [delivered.name]
    assert file.checkpoint.sha256 == newest.name


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(attempts):
    before = attempts.publish(CHECKPOINT, 0, 12)
    flip_a_bit(attempts.publish(CHECKPOINT, 0, 14))
    assert attempts.next().checkpoint.sha256 == before.name


def test_a_checkpoint_that_is_gone_is_passed_over_too(attempts):
    before = attempts.publish(CHECKPOINT, 0, 12)
    attempts.publish(CHECKPOINT, 0, 14).unlink()
    assert attempts.next().checkpoint.sha256 == before.name


def test_a_stage_whose_result_is_damaged_is_trained_again(attempts):
    flip_a_bit(attempts.publish(DELIVERABLE, 0, 10))
    whole = attempts.publish(DELIVERABLE, 1, 20)
    file = attempts.next()
    assert [(entry.stage, entry.sha256) for entry in file.deliverables] == [(1, whole.name)]


def test_no_work_is_lost_to_a_store_that_is_away(attempts, monkeypatch):
    attempts.publish(CHECKPOINT, 0, 12)
    attempts.ledger.release(attempts.first, reason="killed", fruitless=True)
    claim = attempts.ledger.claim(attempts.job_id, "w")
    checkpoint = claim.checkpoints[0].sha256
    run = Run(attempts.settings, attempts.storage, claim)
    find = attempts.storage.local_path

    def away(sha256: str, cache: Path) -> Path:
        if sha256 == checkpoint:
            raise StorageAway("no answer")
        return find(sha256, cache)

    monkeypatch.setattr(attempts.storage, "local_path", away)
    with pytest.raises(StorageAway):
        run.prepare()


def test_what_was_computed_once_is_handed_on_while_it_is_whole(attempts):
    whole = attempts.publish(ONCE, 0, 1)
    flip_a_bit(attempts.publish(ONCE, 0, 2))
    file = attempts.next()
    assert list(file.once) == [f"{ONCE}-0-1"]
    assert file.once[f"{ONCE}-0-1"].read_bytes() == whole.read_bytes()
    assert not file.deliverables
    assert file.checkpoint is None


def test_after_an_attempt_that_was_killed_the_next_one_saves_sooner(attempts):
    usual = attempts.settings.checkpoint_every_s
    assert attempts.next().checkpoint_every_s == usual / 16
