"""What is asked about a network before a job is spent: checked at once, answered by a worker."""

from typing import Any

import httpx
import pytest

from app.db import Database
from app.tables import Blob, Dataset, Evaluation
from tests.api.helpers import MLP, Rows, assert_problem

RESULT = {
    "accuracy": 0.5,
    "interval": [0.1, 0.9],
    "errors": 1,
    "examples": 2,
    "nll": 0.7,
    "ece": 0.1,
    "reliability": [{"low": 0.0, "high": 1.0, "examples": 2, "confidence": 0.6, "accuracy": 0.5}],
    "per_class": [{"class": 0, "name": "0", "examples": 2, "errors": 1, "accuracy": 0.5}],
    "confusions": [{"label": 0, "predicted": 1, "examples": 1}],
}


class Material:
    """Teachers and datasets whose bytes have their rows."""

    def __init__(self, rows: Rows, database: Database) -> None:
        self.rows, self.database = rows, database

    def blob(self, digit: str) -> str:
        with self.database.transaction() as session:
            session.merge(Blob(sha256=digit * 64, size=1))
        return digit * 64

    def teacher(self, **values: Any) -> str:
        return self.rows.teacher(sha256=self.blob("a"), **values)

    def dataset(self, **facts: Any) -> str:
        dataset = self.rows.dataset(**facts)
        self.rows.set(Dataset, dataset, sha256=self.blob("d"))
        return dataset

    def job(self, **values: Any) -> str:
        spec = {"student": {"network": MLP, "file": None}, "teachers": [], "dataset": "dst_0"}
        job = self.rows.job(**{"state": "succeeded", "spec": spec, **values})
        self.rows.artifact(job, "student.safetensors", b"weights")
        document = b'{"preprocess": {"scale": 1.0, "mean": [0.5], "std": [0.25]}}'
        self.rows.artifact(job, "network.json", document, kind="network", format="json")
        return job


@pytest.fixture
def material(rows: Rows, database: Database) -> Material:
    return Material(rows, database)


def row(database: Database, evaluation_id: str) -> Evaluation:
    with database.reading() as session:
        return session.get_one(Evaluation, evaluation_id)


def test_a_teacher_is_asked_about(api: httpx.Client, material: Material) -> None:
    body = {"teacher": material.teacher(), "dataset": material.dataset()}
    answer = api.post("/evaluations", json=body)
    assert answer.status_code == 202
    made = answer.json()
    assert answer.headers["location"] == f"/evaluations/{made['id']}"
    assert "retry-after" in answer.headers
    assert made["id"].startswith("evl_")
    assert {**body, "split": "test", "job": None, "state": "pending"}.items() <= made.items()
    assert not made["is_terminal"]
    assert made["result"] is made["finished_at"] is None
    assert api.get(f"/evaluations/{made['id']}").json() == made


def test_the_student_of_a_job_is_asked_about(
    api: httpx.Client, material: Material, database: Database
) -> None:
    body = {"job": material.job(), "dataset": material.dataset(), "split": "validation"}
    made = api.post("/evaluations", json=body).json()
    kept = row(database, made["id"])
    assert kept.preprocess == {"scale": 1.0, "mean": [0.5], "std": [0.25]}
    assert kept.network == MLP


def test_what_was_found_is_told_and_not_computed_again(
    api: httpx.Client, material: Material, rows: Rows
) -> None:
    body = {"teacher": material.teacher(), "dataset": material.dataset()}
    first = api.post("/evaluations", json=body).json()["id"]
    rows.set(Evaluation, first, state="succeeded", result=RESULT)
    told = api.get(f"/evaluations/{first}").json()
    assert (told["state"], told["is_terminal"], told["result"]) == ("succeeded", True, RESULT)
    # The same bytes under other names, and as this dataset's constants say, are the same question.
    again = api.post("/evaluations", json={**body, "teacher": material.teacher(name="copy")})
    assert again.status_code == 202
    assert (again.json()["state"], again.json()["result"]) == ("succeeded", RESULT)
    assert again.json()["id"] != first
    for other in (
        {**body, "split": "train"},
        {**body, "teacher": material.teacher(class_names=[str(i) for i in range(10)])},
        {**body, "teacher": material.teacher(preprocess={"scale": 1, "mean": [0], "std": [1]})},
    ):
        assert api.post("/evaluations", json=other).json()["state"] == "pending"


@pytest.mark.parametrize(
    ("teacher", "facts", "code", "pointer"),
    [
        ({"network": {**MLP, "inputs": 10}}, {}, "shape_mismatch", "/teacher"),
        ({"network": {**MLP, "classes": 9}}, {}, "classes_mismatch", "/teacher"),
        (
            {"class_names": [f"c{i}" for i in range(10)]},
            {"class_names": [f"d{i}" for i in range(10)]},
            "class_names_mismatch",
            "/teacher",
        ),
        (
            {"preprocess": {"scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1]}},
            {},
            "preprocess_mismatch",
            "/teacher",
        ),
        ({}, {"rows": {"train": 10}}, "unknown_split", "/split"),
        ({}, {"labelled": False}, "labels_required", "/dataset"),
    ],
)
def test_what_does_not_fit_is_refused(
    api: httpx.Client,
    material: Material,
    teacher: dict[str, Any],
    facts: dict[str, Any],
    code: str,
    pointer: str,
) -> None:
    body = {"teacher": material.teacher(**teacher), "dataset": material.dataset(**facts)}
    assert_problem(api.post("/evaluations", json=body), 422, code, pointer)
    assert api.get("/evaluations").json()["data"] == []


@pytest.mark.parametrize(
    ("shape", "constants", "fits"),
    [([28, 28], 1, True), ([28, 28, 1], 1, True), ([784], 784, True), ([784], 3, False)],
)
def test_how_many_constants_fit(
    api: httpx.Client, material: Material, shape: list[int], constants: int, fits: bool
) -> None:
    own = {"scale": 1, "mean": [0.0] * constants, "std": [1.0] * constants}
    body = {
        "teacher": material.teacher(preprocess=own),
        "dataset": material.dataset(feature_shape=shape),
    }
    assert api.post("/evaluations", json=body).status_code == (202 if fits else 422)


def test_what_is_not_there_or_not_ready(api: httpx.Client, material: Material) -> None:
    teacher, dataset = material.teacher(), material.dataset()
    for body, status, code in (
        ({"teacher": "tch_0", "dataset": dataset}, 422, "unknown_teacher"),
        ({"job": "job_0", "dataset": dataset}, 422, "unknown_job"),
        ({"teacher": teacher, "dataset": "dst_0"}, 422, "unknown_dataset"),
        (
            {"teacher": material.teacher(state="checking"), "dataset": dataset},
            409,
            "teacher_checking",
        ),
        (
            {"teacher": material.teacher(state="rejected"), "dataset": dataset},
            422,
            "teacher_rejected",
        ),
        (
            {"teacher": teacher, "dataset": material.dataset(state="checking")},
            409,
            "dataset_checking",
        ),
        ({"job": material.job(state="running"), "dataset": dataset}, 409, "job_not_finished"),
        ({"job": material.job(state="failed"), "dataset": dataset}, 409, "job_without_student"),
    ):
        problem = assert_problem(api.post("/evaluations", json=body), status, code)
        assert problem["retryable"] == (code.endswith("checking") or code == "job_not_finished")


@pytest.mark.parametrize(
    "body",
    [
        {"dataset": "dst_0"},
        {"dataset": "dst_0", "teacher": "tch_0", "job": "job_0"},
        {"dataset": "dst_0", "teacher": "job_0"},
        {"dataset": "dst_0", "teacher": "tch_0", "split": "holdout"},
        {"teacher": "tch_0"},
    ],
)
def test_nonsense_is_refused(api: httpx.Client, body: dict[str, Any]) -> None:
    assert_problem(api.post("/evaluations", json=body), 422, "validation_failed")


def test_idempotency(api: httpx.Client, material: Material) -> None:
    body = {"teacher": material.teacher(), "dataset": material.dataset()}
    first, again = (
        api.post("/evaluations", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)
    )
    assert first.json() == again.json()
    assert len(api.get("/evaluations").json()["data"]) == 1


def test_lists_can_be_narrowed(api: httpx.Client, material: Material) -> None:
    teacher, job, dataset = material.teacher(), material.job(), material.dataset()
    of_teacher = api.post("/evaluations", json={"teacher": teacher, "dataset": dataset}).json()
    of_job = api.post("/evaluations", json={"job": job, "dataset": dataset}).json()
    for query, expected in (
        ("", [of_job, of_teacher]),
        (f"?teacher={teacher}", [of_teacher]),
        (f"?job={job}", [of_job]),
        (f"?dataset={dataset}&job={job}", [of_job]),
        ("?dataset=dst_0", []),
    ):
        assert api.get(f"/evaluations{query}").json()["data"] == expected
    cursor = api.get("/evaluations?limit=1").json()["next_cursor"]
    assert api.get(f"/evaluations?limit=1&cursor={cursor}").json()["data"] == [of_teacher]
    assert_problem(api.get(f"/evaluations?cursor={cursor}&job={job}"), 400, "invalid_cursor")


def test_what_is_being_looked_at_stays(api: httpx.Client, material: Material, rows: Rows) -> None:
    teacher, job, dataset = material.teacher(), material.job(), material.dataset()
    ids = [
        api.post("/evaluations", json={**subject, "dataset": dataset}).json()["id"]
        for subject in ({"teacher": teacher}, {"job": job})
    ]
    things = {
        f"/teachers/{teacher}": "teacher",
        f"/jobs/{job}": "job",
        f"/datasets/{dataset}": "dataset",
    }
    for path, kind in things.items():
        assert_problem(api.delete(path), 409, f"{kind}_in_use")
    rows.set(Evaluation, ids[0], state="succeeded", result=RESULT)
    assert api.delete(f"/evaluations/{ids[1]}").status_code == 204
    for path in things:
        assert api.delete(path).status_code == 204
    assert api.get(f"/evaluations/{ids[0]}").json()["result"] == RESULT, "it outlives them"


def test_deleting_one(api: httpx.Client, material: Material) -> None:
    body = {"teacher": material.teacher(), "dataset": material.dataset()}
    made = api.post("/evaluations", json=body).json()["id"]
    assert api.delete(f"/evaluations/{made}").status_code == 204
    for answer in (api.get(f"/evaluations/{made}"), api.delete(f"/evaluations/{made}")):
        assert_problem(answer, 404, "evaluation_not_found")
