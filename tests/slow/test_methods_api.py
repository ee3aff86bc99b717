"""Every method through the real service: POST /jobs, the report, the student's bytes."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load

from app.spec.methods import METHODS
from tests.acceptance.conftest import Service, mlp, serve

pytestmark = pytest.mark.slow


def convnet(*channels: int) -> dict[str, Any]:
    return {"family": "convnet", "inputs": [1, 8, 8], "channels": channels, "hidden": [32]}


# method -> (its JSON, the student's network, training beside the usual). One entry a method.
TABLE: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "supervised": ({}, mlp(16), {}),
    "kd": ({"standardise": True, "soft_weight": 9, "hard_weight": 0.1}, mlp(16), {}),
    "logits": ({}, mlp(16), {}),
    "dkd": ({"beta": 2, "warmup_epochs": 4}, mlp(16), {}),
    "dist": ({}, mlp(16), {}),
    "nkd": ({}, mlp(16), {}),
    "wttm": ({"temperature": 2}, mlp(16), {}),
    "policy": ({"temperature": 0.5}, mlp(16), {}),
    "dml": ({"peers": 2, "networks": [mlp(8)]}, mlp(16), {}),
    "born_again": ({"generations": 2}, mlp(16), {"epochs": 30}),
    "codistillation": ({"exchange_steps": 10}, mlp(16), {}),
    "one": ({"branches": 2}, mlp(32, 16), {}),
    "ffl": ({"temperature": 2}, mlp(32, 16), {}),
    "specialists": ({"count": 2, "specialist_epochs": 2}, mlp(16), {}),
    "dataset_distillation": (
        {"steps": 3, "passes": 2, "rate": 0.1, "initialisation": "fixed"},
        mlp(16),
        {"optimizer": {"name": "adam", "lr": 0.05}, "epochs": 12},
    ),
    "net2net": ({}, mlp(80, 64), {}),
    "fitnets": ({}, convnet(4, 16), {"epochs": 12, "batch_size": 32}),
    "at": ({"beta": 100}, convnet(8, 8), {"batch_size": 32}),
    "rkd": ({"soft_weight": 1}, convnet(4, 16), {"batch_size": 32}),
    "fsp": ({"hint_epochs": 3}, convnet(8, 16), {"batch_size": 32}),
    "crd": ({"negatives": 512}, convnet(4, 16), {"batch_size": 32}),
    "ensemblenet": ({"heads": 2}, mlp(32, 16), {}),
    "apprentice": ({"quantize": {"weights": 4}}, convnet(8, 16), {"epochs": 12, "batch_size": 32}),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home: Path = tmp_path_factory.mktemp("home")
    yield from serve(home, database="", broker="")


@pytest.fixture(scope="module")
def digits(service: Service) -> str:
    source = {"kind": "builtin", "name": "digits"}
    dataset = service.post("/datasets", {"name": "digits", "source": source})
    assert service.checked(f"/datasets/{dataset['id']}")["state"] == "ready"
    return str(dataset["id"])


@pytest.fixture(scope="module")
def teacher(service: Service, digits: str) -> dict[str, str]:
    """Teachers that the service has trained, by the family of their network."""
    made = {}
    for network in (mlp(64), convnet(8, 16)):
        job = service.post(
            "/jobs",
            {
                "dataset": digits,
                "student": {"network": network},
                "method": {"name": "supervised"},
                "training": {"epochs": 15, "optimizer": {"name": "adam"}},
            },
        )
        assert service.ended(job["id"])["state"] == "succeeded"
        row = service.post("/teachers", {"name": network["family"], "job": job["id"]})
        assert service.checked(f"/teachers/{row['id']}")["state"] == "ready"
        made[network["family"]] = str(row["id"])
    return made


def test_the_table_has_every_method() -> None:
    assert set(TABLE) == set(METHODS)


@pytest.mark.parametrize("name", TABLE)
def test_a_method_through_the_service(service, digits, teacher, name) -> None:
    method, network, training = TABLE[name]
    most = METHODS[name].teachers[1]
    chosen = [teacher[network["family"]]] if most != 0 else []
    body = {
        "teachers": chosen,
        "dataset": digits,
        "student": {"network": network},
        "method": {"name": name, **method},
        "training": {"epochs": 8, "optimizer": {"name": "adam", "lr": 0.003}, **training},
    }
    checked = service.http.post("/jobs?validate_only=true", json=body)
    assert checked.status_code == 200, checked.text
    job = service.post("/jobs", body)["id"]
    ended = service.ended(job)
    assert ended["state"] == "succeeded", ended["error"]
    assert ended["progress"]["fraction"] == 1
    assert ended["progress"]["stage"] == ended["progress"]["stages"]

    report = service.get(f"/jobs/{job}/report")
    compared = METHODS[name].compared
    assert (report["verdict"] != "no baseline") is compared
    assert report["student"]["accuracy"] > 0.5
    keys = {one["key"] for one in service.get(f"/jobs/{job}/metrics")["series"]}
    assert {"train/loss", "train/lr", "validation/accuracy"} <= keys
    assert ("baseline/0/train/loss" in keys) is compared

    student = service.http.get(f"/jobs/{job}/student")
    assert student.headers["etag"] == f'"{hashlib.sha256(student.content).hexdigest()}"'
    assert load(student.content)


@pytest.mark.parametrize(
    ("method", "quantize"),
    [
        ({"name": "apprentice", "quantize": {"weights": 4}}, None),
        ({"name": "kd"}, {"weights": 8, "activations": 7}),
    ],
    ids=["apprentice", "kd, rounded after"],
)
def test_a_quantised_student_becomes_a_teacher(service, digits, teacher, method, quantize) -> None:
    """Its job's, and that of anybody who uploads what was downloaded."""
    network = mlp(32, 24, 16)
    body = {
        "teachers": [teacher["mlp"]],
        "dataset": digits,
        "student": {"network": network, "quantize": quantize},
        "method": method,
        "training": {"epochs": 12, "optimizer": {"name": "adam", "lr": 0.003}},
        "baseline": None,
    }
    job = service.post("/jobs", body)["id"]
    assert service.ended(job)["state"] == "succeeded"
    report = service.get(f"/jobs/{job}/report")
    sizes = {one["name"]: one["size"] for one in service.get(f"/jobs/{job}/artifacts")["data"]}
    assert sizes["student.safetensors"] < sizes["full_precision.safetensors"]
    assert report["student"]["bytes"] < report["full_precision"]["bytes"]
    assert report["student"]["latency_ms"] > 0

    content = service.http.get(f"/jobs/{job}/student").content
    described = json.loads(service.http.get(f"/jobs/{job}/artifacts/network.json").content)
    file = service.upload(content, "quantised.safetensors")
    for source in (
        {"job": job},
        {"file": file, "network": network, "preprocess": described["preprocess"]},
    ):
        row = service.post("/teachers", {"name": "quantised", **source})
        row = service.checked(f"/teachers/{row['id']}")
        assert row["state"] == "ready", row["error"]
        assert row["quantization"] == described["quantization"]
        later = {**body, "teachers": [row["id"]], "student": {"network": mlp(16)}}
        ended = service.ended(service.post("/jobs", {**later, "method": {"name": "kd"}})["id"])
        assert ended["state"] == "succeeded", ended["error"]
        told = service.get(f"/jobs/{ended['id']}/report")["teacher"]
        assert told["errors"] == report["student"]["errors"]
        assert told["bytes"] == report["student"]["bytes"]


def test_a_quantised_file_that_lies_is_rejected(service, digits) -> None:
    network = mlp(32, 24, 16)
    body = {
        "dataset": digits,
        "student": {"network": network, "quantize": {}},
        "method": {"name": "supervised"},
        "training": {"epochs": 1},
    }
    job = service.post("/jobs", body)["id"]
    assert service.ended(job)["state"] == "succeeded"
    content = service.http.get(f"/jobs/{job}/student").content
    for told, lie, code in (
        (b'weights\\":8', b'weights\\":3', "invalid_quantization"),
        (b'activations\\":8', b'activations\\":7', None),
        (b'first_and_last\\":false', b'first_and_last\\":true ', "tensor_mismatch"),
    ):
        assert content.count(told) == 1
        file = service.upload(content.replace(told, lie), "lie.safetensors")
        row = service.post("/teachers", {"name": "lie", "file": file, "network": network})
        row = service.checked(f"/teachers/{row['id']}")
        assert row["state"] == ("rejected" if code else "ready")
        assert code is None or row["error"]["code"] == code
