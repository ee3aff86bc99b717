"""What the API says of further methods before they train."""

import httpx
import pytest

from tests.api.helpers import MLP, SMALL_MLP, Rows, job_body


@pytest.mark.parametrize(
    ("network", "pointer", "code", "named"),
    [
        ({**MLP, "inputs": 100}, "/method/networks/0/inputs", "shape_mismatch", ("28x28", "100")),
        ({**MLP, "classes": 7}, "/method/networks/0/classes", "classes_mismatch", ("7", "10")),
    ],
)
def test_a_peer_that_does_not_fit_is_refused(api, rows, network, pointer, code, named) -> None:
    method = {"name": "dml", "networks": [network]}
    answer = api.post("/jobs", json=job_body(rows, method=method))
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)
    assert all(shape in error["detail"] for shape in named)


def test_peers_are_counted(api: httpx.Client, rows: Rows) -> None:
    told = {}
    for method in ({"name": "dml", "networks": [MLP]}, {"name": "supervised"}):
        body = {**job_body(rows, method=method, baseline=None), "teachers": []}
        told[method["name"]] = api.post("/jobs?validate_only=true", json=body).json()["estimate"]
    assert told["dml"]["train_flops"] > 2 * told["supervised"]["train_flops"]
    assert told["dml"]["memory_bytes"] > told["supervised"]["memory_bytes"]


def test_a_warm_up_that_outlasts_the_job_is_warned_of(api: httpx.Client, rows: Rows) -> None:
    for epochs, expected in ((20, True), (21, False)):
        body = job_body(rows, method={"name": "dkd"}, training={"epochs": epochs})
        warnings = api.post("/jobs?validate_only=true", json=body).json()["warnings"]
        assert ("teaching_never_whole" in [one["code"] for one in warnings]) is expected


def test_another_methods_alpha_is_not_the_teachers_weight(api: httpx.Client, rows: Rows) -> None:
    for method, expected in (
        ({"name": "kd", "alpha": 0}, True),
        ({"name": "dkd", "alpha": 0}, False),
    ):
        told = api.post("/jobs?validate_only=true", json=job_body(rows, method=method)).json()
        assert ("teacher_unused" in [one["code"] for one in told["warnings"]]) is expected


@pytest.mark.parametrize(
    ("method", "detail"),
    [
        ({"name": "dkd", "alpha": 0, "beta": 0}, "alpha and beta"),
        ({"name": "dist", "beta": 0, "gamma": 0}, "beta and gamma"),
        ({"name": "dml", "peers": 1}, "greater than or equal to 2"),
        ({"name": "dml", "peers": 2, "networks": [MLP, SMALL_MLP]}, "2 peers are"),
        ({"name": "policy", "temperature": 0}, "greater than"),
    ],
)
def test_impossible_parameters_are_refused(api, rows, method, detail) -> None:
    answer = api.post("/jobs", json=job_body(rows, method=method))
    assert answer.status_code == 422
    assert detail in answer.text
