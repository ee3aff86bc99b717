"""Runs that are kept, interrupted, gone on with, and told of."""

import json

import pytest

from app.spec.jobfile import JobFile
from benchmarks.reproduce.__main__ import sit
from benchmarks.reproduce.conduct import Stopped
from benchmarks.reproduce.records import add, current, load
from benchmarks.reproduce.runs import Book, Run
from tests.reproduce.book import BOOK, job

TEACHER, KD = BOOK.runs["t/teacher/0"], BOOK.runs["t/kd/0"]


def conduct(conductor) -> None:
    for run in BOOK.order([KD.name]):
        conductor.run(run)


def student(conductor, name: str) -> bytes:
    return (conductor.folder(name) / "student.safetensors").read_bytes()


def test_teachers_come_first_and_lower_waves_before_others() -> None:
    assert [run.name for run in BOOK.order()] == [
        "t/plain/0", "t/teacher/0", "t/kd/0", "t/no-3/0"
    ]  # fmt: skip
    assert [run.name for run in BOOK.order(["t/no-3/0"])] == ["t/teacher/0", "t/no-3/0"]


def test_a_key_follows_from_the_job_the_data_and_the_teachers() -> None:
    def key(name: str, teacher: Run, kd: Run = KD) -> str:
        return Book.of([teacher, kd]).key(name)

    longer = {**TEACHER.job, "training": {**TEACHER.job["training"], "epochs": 7}}
    other = Run(TEACHER.name, "digits", longer)
    assert key(KD.name, TEACHER) == BOOK.key(KD.name)
    assert key(KD.name, other) != BOOK.key(KD.name)
    assert key(KD.name, TEACHER, Run(KD.name, "mnist", KD.job, KD.teachers)) != BOOK.key(KD.name)
    # Where it stands in the order, and what it is called, make no other result.
    assert key("x", TEACHER, Run("x", "digits", KD.job, KD.teachers, 9)) == BOOK.key(KD.name)


def test_a_finished_run_is_kept(conductor) -> None:
    first = conductor()
    made = first.run(TEACHER)
    assert made["errors"] < 60
    assert made["examples"] == 359
    report = json.loads((first.folder(TEACHER.name) / "report.json").read_text())
    assert made["errors"] == report["student"]["errors"]
    assert made["validation_accuracy"] > 0.8
    assert not list(first.folder(TEACHER.name).glob("checkpoint-*"))

    never = conductor(asks=0)  # a training would be stopped at once
    assert never.run(TEACHER) == made


@pytest.mark.parametrize("asks", [40, 300])
def test_an_interrupted_run_goes_on_from_its_checkpoint(conductor, asks: int) -> None:
    """To the same bytes, whether the teacher or the student was interrupted."""
    whole, halves, rest = conductor("whole"), conductor("halves", asks), conductor("halves")
    conduct(whole)
    with pytest.raises(Stopped):
        conduct(halves)
    stopped = TEACHER if asks == 40 else KD
    assert halves.begun(stopped.name)
    assert not halves.finished(stopped.name)

    conduct(rest)
    file = JobFile.model_validate_json((rest.folder(stopped.name) / "job.json").read_bytes())
    assert file.checkpoint is not None
    assert student(rest, KD.name) == student(whole, KD.name)


def test_a_damaged_checkpoint_is_not_gone_on_from(conductor) -> None:
    with pytest.raises(Stopped):
        conductor(asks=40).run(TEACHER)
    again = conductor()
    (checkpoint,) = again.folder(TEACHER.name).glob("checkpoint-*")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1] + b"x")
    again.run(TEACHER)
    whole = conductor("whole")
    whole.run(TEACHER)
    assert student(again, TEACHER.name) == student(whole, TEACHER.name)


def test_another_engine_begins_anew_but_keeps_what_is_finished(conductor, monkeypatch) -> None:
    first = conductor(asks=300)
    with pytest.raises(Stopped):
        conduct(first)
    teacher = student(first, TEACHER.name)
    monkeypatch.setattr("benchmarks.reproduce.conduct.ENGINE_VERSION", 10**6)
    again = conductor()
    conduct(again)
    assert student(again, TEACHER.name) == teacher
    file = JobFile.model_validate_json((again.folder(KD.name) / "job.json").read_bytes())
    assert file.checkpoint is None


def test_a_sitting_records_what_it_finished(conductor, tmp_path) -> None:
    results = tmp_path / "results.json"
    assert not sit(conductor(), ["t/no-3/0"], results)
    records = load(results)
    assert set(records) == {"t/teacher/0", "t/no-3/0"}
    made = records["t/no-3/0"]
    assert made["teacher_errors"] == records["t/teacher/0"]["errors"]
    assert made["bias_repair"]["after"]["errors"] <= made["bias_repair"]["before"]["errors"]
    assert len(made["seeds"]) == 3
    assert made["verdict"] in ("helped", "hurt", "not distinguishable")
    assert made["command"].endswith("--run t/no-3/0")
    assert {"machine", "date", "commit", "torch", "threads", "data_sha256"} <= set(made)


def test_a_sitting_that_is_over_records_nothing_unfinished(conductor, tmp_path) -> None:
    results = tmp_path / "results.json"
    assert not sit(conductor(asks=40), ["t/kd/0"], results)
    assert load(results) == {}
    assert not sit(conductor(), ["t/kd/0"], results)
    assert set(load(results)) == {"t/teacher/0", "t/kd/0"}


def test_a_failing_run_spares_the_others_but_not_its_students(conductor, tmp_path) -> None:
    broken = Run("t/teacher/0", "digits", job(48, {"name": "supervised"}, student={"network": {
        "family": "mlp", "inputs": 63, "hidden": [8]}}))  # fmt: skip
    book = Book.of([broken, KD, BOOK.runs["t/plain/0"]])
    results = tmp_path / "results.json"
    assert sit(conductor(book=book), list(book.runs), results)
    assert set(load(results)) == {"t/plain/0"}


def test_an_outdated_record_is_left_out(tmp_path) -> None:
    results = tmp_path / "results.json"
    add(results, "t/kd/0", {"key": BOOK.key("t/kd/0"), "errors": 3})
    add(results, "t/plain/0", {"key": "of another job", "errors": 4})
    assert set(current(load(results), BOOK)) == {"t/kd/0"}
