import io
import json
import pickle
import zipfile
from typing import Any

import httpx
import pytest

from app.settings import Settings
from app.tables import Teacher
from tests.api.helpers import MLP, Rows, assert_problem, checkpoint, serve, upload


def zipped(member: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, b"x" * 100)
    return file.getvalue()


def test_a_teacher_is_checked_later(api: httpx.Client) -> None:
    file_id = upload(api, checkpoint(), "teacher.safetensors")
    body = {"name": "big", "file": file_id, "network": MLP, "class_names": list("0123456789")}
    made = api.post("/teachers", json=body)
    assert made.status_code == 202
    teacher = made.json()
    assert made.headers["location"] == f"/teachers/{teacher['id']}"
    assert made.headers["retry-after"] == "1"
    assert teacher["state"] == "checking"
    assert teacher["parameters"] is None
    assert teacher["network"]["dropout"] == 0.0
    assert api.get(made.headers["location"]).json() == teacher
    assert api.get("/teachers").json() == {"data": [teacher], "next_cursor": None}


def test_what_the_check_found(api: httpx.Client, rows: Rows) -> None:
    facts = {"parameters": 5, "flops": 8, "taps": ["activations.0"], "bytes": 20}
    ready = rows.teacher(facts=facts)
    teacher = api.get(f"/teachers/{ready}").json()
    assert (teacher["state"], teacher["parameters"], teacher["flops"]) == ("ready", 5, 8)
    assert teacher["taps"] == ["activations.0"]
    rejected = rows.teacher(state="rejected", error={"code": "tensor_mismatch"})
    assert api.get(f"/teachers/{rejected}").json()["error"]["code"] == "tensor_mismatch"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (pickle.dumps({"w": [1.0]}), "teacher.bin"),
        (zipped("archive/data.pkl"), "teacher.pt"),
        (zipped("archive/code/__torch__.py"), "scripted.pt"),
        (zipped("archive/models/model.json"), "program.pt2"),
    ],
)
def test_pickles_and_programs_are_refused_at_once(
    api: httpx.Client, snapshot: Any, content: bytes, name: str
) -> None:
    file_id = upload(api, content, name)
    before = snapshot()
    answer = api.post("/teachers", json={"name": "t", "file": file_id, "network": MLP})
    body = assert_problem(
        answer,
        415,
        "unsupported_checkpoint" if name.endswith("pt2") else "pickle_not_accepted",
    )
    assert "safetensors" in body["detail"]
    assert snapshot() == before


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"file": "file_0"}, "/file", "unknown_file"),
        ({"file": "nonsense"}, "/file", "string_pattern_mismatch"),
        ({"class_names": ["a", "b"]}, "/class_names", "classes_mismatch"),
        ({"network": {"family": "mlp", "hidden": [0]}}, "/network/hidden/0", "greater_than_equal"),
        ({"network": {"family": "mlp", "hiden": []}}, "/network/hiden", "extra_forbidden"),
        ({"network": {"family": "transformer"}}, "/network", "union_tag_invalid"),
        ({"network": None}, "", "value_error"),
        ({"job": "job_1"}, "", "value_error"),
        ({"name": None}, "/name", "string_type"),
        ({"name": "a\x00"}, "/name", "nul_character"),
        ({"colour": 1}, "/colour", "extra_forbidden"),
    ],
)
def test_what_is_wrong_is_named(
    api: httpx.Client, changes: dict[str, Any], pointer: str, code: str
) -> None:
    file_id = upload(api, checkpoint())
    answer = api.post("/teachers", json={"name": "t", "file": file_id, "network": MLP, **changes})
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert (pointer, code) in [(error["pointer"], error["code"]) for error in errors]


def test_a_network_over_the_memory_budget(settings: Settings) -> None:
    small = settings.model_copy(update={"memory_budget_bytes": 1000})
    with serve(small) as address, httpx.Client(base_url=address) as api:
        file_id = upload(api, checkpoint())
        answer = api.post("/teachers", json={"name": "t", "file": file_id, "network": MLP})
        assert_problem(answer, 422, "over_memory_budget", "/network")


def test_a_student_becomes_a_teacher(api: httpx.Client, rows: Rows) -> None:
    job_id = rows.job(state="succeeded", spec={"student": {"network": MLP}})
    sha256 = rows.artifact(job_id, "student.safetensors", checkpoint())
    preprocess = {"scale": 0.5, "mean": [0.1], "std": [0.2]}
    names = [f"class {i}" for i in range(10)]
    document = {**MLP, "preprocess": preprocess, "class_names": names}
    rows.artifact(
        job_id, "network.json", json.dumps(document).encode(), kind="network", format="json"
    )
    made = api.post("/teachers", json={"name": "t", "job": job_id})
    assert made.status_code == 202, made.text
    teacher = made.json()
    assert (teacher["job"], teacher["file"], teacher["sha256"]) == (job_id, None, sha256)
    assert teacher["network"] == MLP
    assert (teacher["preprocess"], teacher["class_names"]) == (preprocess, names)


def test_only_a_finished_student_becomes_one(api: httpx.Client, rows: Rows) -> None:
    running, failed = rows.job(state="running"), rows.job(state="failed")
    answer = api.post("/teachers", json={"name": "t", "job": running})
    assert assert_problem(answer, 409, "job_not_finished")["retryable"]
    answer = api.post("/teachers", json={"name": "t", "job": failed})
    assert not assert_problem(answer, 409, "job_without_student")["retryable"]
    answer = api.post("/teachers", json={"name": "t", "job": "job_0"})
    assert_problem(answer, 422, "unknown_job", "/job")


def test_unknown_teachers(api: httpx.Client, rows: Rows) -> None:
    assert_problem(api.get("/teachers/tch_0"), 404, "teacher_not_found")
    rows.set(Teacher, rows.teacher(), name="renamed")
    assert api.get("/teachers").json()["data"][0]["name"] == "renamed"


def test_two_classes_of_one_name(api: httpx.Client) -> None:
    file = upload(api, checkpoint(), "t.safetensors")
    body = {"name": "t", "file": file, "network": MLP, "class_names": ["a", "b"] * 5}
    answer = assert_problem(api.post("/teachers", json=body), 422, "validation_failed")
    assert "class_names names something twice" in answer["detail"]
