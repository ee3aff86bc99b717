"""What the parts declare can be run: every job, every method."""

import json
from collections.abc import Iterator

import pytest
from pydantic import TypeAdapter

from app.spec.job import JobSpec
from app.spec.methods import METHODS
from app.spec.networks import NetworkSpec
from benchmarks.reproduce import cifar, hinton, methods
from benchmarks.reproduce.runs import Book, Run

BOOK = Book.of(hinton.runs(), methods.runs(), cifar.runs(), cifar.runs(0.01))
network = TypeAdapter(NetworkSpec).validate_python


def jobs() -> Iterator[tuple[Run, JobSpec]]:
    for run in BOOK.order():
        ids = [f"tch_{number}" for number in range(len(run.teachers))]
        body = {**run.job, "teachers": ids, "dataset": "dst_0"}
        yield run, JobSpec.model_validate_json(json.dumps(body))


def test_every_job_is_one_that_the_service_would_take() -> None:
    for run, job in jobs():
        teachers = [network(BOOK.runs[name].job["student"]["network"]) for name in run.teachers]
        assert not list(job.method.flaws(job.student.network, teachers)), run.name
        assert len(teachers) >= job.method.teacher_bounds[0], run.name


def test_every_method_of_the_registry_is_measured() -> None:
    measured = {run.job["method"]["name"] for run in methods.runs() if run.job["baseline"]}
    assert measured == set(METHODS) - {"supervised"}
    assert set(methods.ENTRIES) | set(methods.TEACHERS) <= set(METHODS)


def test_a_scale_is_told_by_its_names_and_never_meets_the_table() -> None:
    full, small = list(cifar.runs()), list(cifar.runs(0.01))
    assert all(run.name.startswith("c/") for run in full)
    assert all(run.name.startswith("c@0.01/") for run in small)
    assert {run.data for run in small} == {"cifar100@0.01"}
    assert not {BOOK.key(run.name) for run in full} & {BOOK.key(run.name) for run in small}
    training = full[0].job["training"]
    assert (training["epochs"], training["schedule"]["milestones"]) == (240, [150, 180, 210])


@pytest.mark.parametrize(
    "name", ["a/no-3/0", "a/only-7-8/0", "a/few-hard/0", "a/held-out-kd-4/0", "a/search/0"]
)
def test_what_chooses_on_validation_never_trains_on_it(name: str) -> None:
    """Nor do its teachers."""
    assert {run.data for run in BOOK.order([name])} == {hinton.HELD_OUT}
