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
        ({"name": "kd", "alpha": 0, "soft_weight": 9, "hard_weight": 0.1}, False),
        ({"name": "kd", "soft_weight": 0, "hard_weight": 1}, True),
    ):
        told = api.post("/jobs?validate_only=true", json=job_body(rows, method=method)).json()
        assert ("teacher_unused" in [one["code"] for one in told["warnings"]]) is expected


@pytest.mark.parametrize(
    ("method", "word"),
    [
        ({"name": "kd", "standardise": True}, "standardise"),
        ({"name": "dkd"}, "beta"),
        ({"name": "nkd"}, "gamma"),
        ({"name": "dist"}, "beta"),
        ({"name": "dist", "beta": 0}, None),
        ({"name": "dkd", "beta": 0}, None),
        ({"name": "nkd", "gamma": 0}, None),
        ({"name": "kd"}, None),
    ],
)
def test_terms_that_two_classes_silence_are_warned_of(api, rows, method, word) -> None:
    networks = {"network": {**MLP, "classes": 2}}
    teacher = rows.teacher(**networks)
    for classes, expected in ((2, word), (10, None)):
        fields = {"dataset": rows.dataset(classes=classes), "method": method}
        if classes == 2:
            fields |= {"teachers": [teacher], "student": {"network": {**SMALL_MLP, "classes": 2}}}
        told = api.post("/jobs?validate_only=true", json=job_body(rows, **fields)).json()
        details = [
            one["detail"] for one in told["warnings"] if one["code"] == "silent_with_two_classes"
        ]
        assert bool(details) is bool(expected)
        assert all(expected in detail for detail in details)


DEEP = {**MLP, "hidden": [32, 16]}
RESNET = {"family": "resnet", "inputs": [1, 4, 4], "depth": 8, "classes": 10}


@pytest.mark.parametrize(
    ("method", "network", "shape", "refused"),
    [
        ({"name": "one"}, DEEP, (28, 28), True),
        ({"name": "ffl"}, DEEP, (28, 28), True),
        ({"name": "supervised"}, RESNET, (4, 4), True),
        ({"name": "supervised"}, {**RESNET, "inputs": [1, 28, 28]}, (28, 28), False),
        ({"name": "supervised"}, MLP, (28, 28), False),
    ],
)
def test_a_batch_of_one_has_no_variance(api, rows, method, network, shape, refused) -> None:
    fields = {"method": method, "student": {"network": network}, "baseline": None}
    fields["dataset"] = rows.dataset(feature_shape=shape)
    for training, expected in (({"batch_size": 1}, refused), ({"batch_size": 2}, False)):
        body = {**job_body(rows, training=training, **fields), "teachers": []}
        answer = api.post("/jobs?validate_only=true", json=body)
        assert answer.status_code == (422 if expected else 200), answer.text
        if expected:
            assert answer.json()["code"] == "batch_of_one"


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
