"""What the API says of students of few bits before they train."""

import httpx
import pytest

from tests.api.helpers import MLP, SMALL_MLP, Rows, job_body

DEEP = {**MLP, "hidden": [64, 64, 32]}
SHALLOW = {**MLP, "hidden": [64]}


def validated(api: httpx.Client, body: dict) -> httpx.Response:
    return api.post("/jobs?validate_only=true", json=body)


@pytest.mark.parametrize(
    ("student", "method", "pointer", "named"),
    [
        ({"network": SHALLOW}, {"name": "apprentice"}, "/method/quantize", "first or its last"),
        (
            {"network": SHALLOW, "quantize": {}},
            {"name": "kd"},
            "/student",
            "first or its last",
        ),
        ({"network": DEEP, "quantize": {}}, {"name": "apprentice"}, "", "quantises its student"),
        ({"network": DEEP}, {"name": "apprentice", "scheme": "a"}, "", "takes no teachers"),
        ({"network": DEEP}, {"name": "apprentice", "gamma": 0}, "", "takes no teachers"),
        (
            {"network": DEEP},
            {"name": "apprentice", "quantize": {"weights": 5}},
            "/method/quantize/weights",
            "2",
        ),
        (
            {"network": DEEP, "quantize": {"activations": 16}},
            {"name": "kd"},
            "/student/quantize/activations",
            "8",
        ),
    ],
)
def test_what_cannot_be_is_refused(api, rows, student, method, pointer, named) -> None:
    answer = validated(api, job_body(rows, student=student, method=method))
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["pointer"].startswith(pointer)
    assert named in error["detail"]


def test_schemes_b_and_c_need_a_teacher(api: httpx.Client, rows: Rows) -> None:
    for scheme, status in (("a", 200), ("b", 422), ("c", 422)):
        method = {"name": "apprentice", "scheme": scheme}
        body = {**job_body(rows, student={"network": DEEP}, method=method), "teachers": []}
        answer = validated(api, body)
        assert answer.status_code == status, answer.text
        if status == 422:
            assert answer.json()["code"] == "teacher_required"


def test_the_teacher_of_scheme_a_must_fit_and_is_counted(api: httpx.Client, rows: Rows) -> None:
    told = {}
    for name, network in {"like": None, "large": {**MLP, "hidden": [2000]}}.items():
        method = {"name": "apprentice", "scheme": "a", "teacher_network": network}
        body = {**job_body(rows, student={"network": DEEP}, method=method), "teachers": []}
        told[name] = validated(api, body).json()["estimate"]
    assert told["large"]["train_flops"] > 2 * told["like"]["train_flops"]
    assert told["large"]["memory_bytes"] > told["like"]["memory_bytes"]

    method["teacher_network"] = {**SMALL_MLP, "inputs": 100}
    body = {**job_body(rows, student={"network": DEEP}, method=method), "teachers": []}
    (error,) = validated(api, body).json()["errors"]
    assert error["pointer"] == "/method/teacher_network/inputs"
    assert error["code"] == "shape_mismatch"


def test_scheme_c_has_two_stages_within_the_job_s_epochs(api: httpx.Client, rows: Rows) -> None:
    body = job_body(
        rows, student={"network": DEEP}, method={"name": "apprentice"}, training={"epochs": 8}
    )
    progress = api.post("/jobs", json=body).json()["progress"]
    assert (progress["stages"], progress["epochs"]) == (4, 8)  # two of its baseline
    body["method"] = {"name": "kd"}
    body["student"]["quantize"] = {"weights": 4}
    answer = api.post("/jobs", json=body).json()
    assert (answer["progress"]["stages"], answer["progress"]["steps"]) == (2, progress["steps"])
    quantize = {"weights": 4, "activations": 8, "first_and_last": False}
    assert answer["spec"]["student"]["quantize"] == quantize
    body["method"], body["training"]["epochs"] = {"name": "apprentice"}, 1
    del body["student"]["quantize"]
    refused = api.post("/jobs", json=body)
    assert refused.status_code == 422
    assert "none would be left" in refused.text


@pytest.mark.parametrize(
    ("student", "method", "expected"),
    [
        ({"quantize": {"weights": 8}}, {"name": "kd"}, {}),
        (
            {"quantize": {"weights": 4}},
            {"name": "kd"},
            {"few_bits_without_training": "/student/quantize/weights"},
        ),
        ({}, {"name": "apprentice", "quantize": {"weights": 2}}, {}),
        (
            {},
            {"name": "apprentice", "quantize": {"first_and_last": True}},
            {"first_and_last_quantised": "/method/quantize/first_and_last"},
        ),
    ],
)
def test_what_costs_accuracy_is_warned_of(api, rows, student, method, expected) -> None:
    body = job_body(rows, student={"network": DEEP, **student}, method=method)
    told = validated(api, body).json()["warnings"]
    found = {one["code"]: one["pointer"] for one in told if "quantize" in one["pointer"]}
    assert found == expected
