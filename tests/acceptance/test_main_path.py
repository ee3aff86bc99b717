"""POST -> train -> download, on real parts, and what happens when it goes wrong."""

import hashlib
import io
import json
import time

import numpy as np
import psutil
import pytest
from safetensors.numpy import load, save

from tests.acceptance.conftest import Service, mlp


def kd_job(teacher: str, digits: str, **fields):
    return {
        "name": "student",
        "teachers": [teacher],
        "dataset": digits,
        "student": {"network": mlp(16)},
        "method": {"name": "kd", "temperature": 4.0, "alpha": 0.9},
        "training": {"epochs": 20, "optimizer": {"name": "adam", "lr": 0.003}},
        "labels": {"team": "vision"},
        **fields,
    }


def test_a_student_is_distilled_downloaded_and_reloaded(service, digits, teacher) -> None:
    body = kd_job(teacher, digits)
    answer = service.http.post("/jobs", json=body, headers={"Idempotency-Key": "main"})
    assert answer.status_code == 202
    job = answer.json()["id"]
    assert answer.headers["location"].endswith(f"/jobs/{job}")
    assert service.http.get(f"/jobs/{job}/student").status_code in (200, 409)
    ended = service.ended(job)
    assert ended["state"] == "succeeded", ended["error"]
    assert ended["progress"]["fraction"] == 1
    again = service.http.post("/jobs", json=body, headers={"Idempotency-Key": "main"})
    assert again.json()["id"] == job

    metrics = service.get(f"/jobs/{job}/metrics")
    curves = {series["key"]: series for series in metrics["series"]}
    for key in (
        "train/loss",
        "train/soft_loss",
        "train/hard_loss",
        "train/accuracy",
        "train/agreement",
        "train/lr",
        "train/samples_per_s",
        "validation/loss",
        "validation/accuracy",
        "validation/agreement",
        "baseline/0/train/loss",
        "baseline/0/validation/accuracy",
    ):
        assert curves[key]["count"] > 0, key
    assert metrics["next"] is None
    assert max(curves["train/loss"]["x"]) < min(curves["baseline/0/train/loss"]["x"])

    report = service.get(f"/jobs/{job}/report")
    assert report["verdict"] in ("helped", "hurt", "not distinguishable")
    assert report["teacher"]["parameters"] > report["student"]["parameters"]
    asked = service.post("/evaluations", {"job": job, "dataset": digits})
    evaluation = service.until(f"/evaluations/{asked['id']}", lambda it: it["is_terminal"])
    result, reported = evaluation["result"], report["student"]
    for key in ("accuracy", "interval", "errors", "per_class"):
        assert result[key] == reported[key], key
    for key in ("nll", "ece"):
        assert result[key] == pytest.approx(reported[key], rel=1e-4), key

    log = service.http.get(f"/jobs/{job}/logs").text
    assert "event=resolved device=" in log
    assert log.count("event=validation epoch=") >= 20
    assert "how=done" in log.splitlines()[-1]

    artifacts = {one["name"]: one for one in service.get(f"/jobs/{job}/artifacts")["data"]}
    assert {"student.safetensors", "network.json", "report.json", "card.md"} <= set(artifacts)

    student = service.http.get(f"/jobs/{job}/student")
    sha256 = hashlib.sha256(student.content).hexdigest()
    assert student.headers["etag"] == f'"{sha256}"'
    assert artifacts["student.safetensors"]["sha256"] == sha256
    tail = service.http.get(f"/jobs/{job}/student", headers={"Range": "bytes=100-"})
    assert (tail.status_code, tail.content) == (206, student.content[100:])

    network = json.loads(service.http.get(artifacts["network.json"]["url"]).content)
    assert network["family"] == "mlp"
    assert network["hidden"] == [16]
    assert set(load(student.content)) == {
        f"layers.{i}.{part}" for i in (0, 1) for part in ("weight", "bias")
    }


def test_an_uploaded_teacher_teaches_uploaded_data(service: Service) -> None:
    """Eight Gaussian clouds in two dimensions, and a teacher whose weights are written by hand."""
    rng = np.random.default_rng(0)
    centres = np.array([[np.cos(a), np.sin(a)] for a in np.arange(8) * np.pi / 4])
    y = rng.integers(0, 8, 4000)
    x = (centres[y] + 0.1 * rng.standard_normal((4000, 2))).astype(np.float32)
    archive = io.BytesIO()
    np.savez(archive, x_train=x[:3000], y_train=y[:3000], x_test=x[3000:], y_test=y[3000:])
    dataset = service.post(
        "/datasets",
        {
            "name": "clouds",
            "source": {"kind": "file", "file": service.upload(archive.getvalue(), "clouds.npz")},
        },
    )
    ready = service.checked(f"/datasets/{dataset['id']}")
    assert ready["state"] == "ready", ready["error"]
    assert ready["rows"] == {"train": 2700, "validation": 300, "test": 1000}
    # Nearest centre: logits proportional to the inner product.
    weights = {
        "layers.0.weight": (20 * centres).astype(np.float32),
        "layers.0.bias": np.zeros(8, np.float32),
    }
    network = {"family": "mlp", "inputs": 2, "hidden": [], "classes": 8}
    teacher = service.post(
        "/teachers",
        {
            "name": "by hand",
            "file": service.upload(save(weights), "teacher.safetensors"),
            "network": network,
            "preprocess": {"scale": 1.0, "mean": [0.0], "std": [1.0]},
        },
    )
    assert service.checked(f"/teachers/{teacher['id']}")["state"] == "ready"
    job = service.post(
        "/jobs",
        {
            "teachers": [teacher["id"]],
            "dataset": dataset["id"],
            "student": {"network": {**network, "hidden": [8]}},
            "training": {"epochs": 5, "optimizer": {"name": "adam", "lr": 0.01}},
        },
    )
    ended = service.ended(job["id"])
    assert ended["state"] == "succeeded", ended["error"]
    report = service.get(f"/jobs/{job['id']}/report")
    # By hand: the teacher's own accuracy on the test rows.
    right = (x[3000:] @ weights["layers.0.weight"].T).argmax(1) == y[3000:]
    assert report["teacher"]["accuracy"] == pytest.approx(right.mean())
    assert report["student"]["agreement"] > 0.8


def test_cancelling_keeps_the_last_checkpoint(service, digits, teacher) -> None:
    job = service.post(
        "/jobs", kd_job(teacher, digits, training={"epochs": 10_000}, baseline=None)
    )["id"]
    service.until(f"/jobs/{job}", lambda it: it["progress"]["step"] > 0)
    assert service.http.post(f"/jobs/{job}/cancel").status_code == 200
    began = time.monotonic()
    assert service.ended(job, 20)["state"] == "cancelled"
    assert time.monotonic() - began < 10, (service.home / "logs/train.log").read_text()
    assert service.http.post(f"/jobs/{job}/cancel").status_code == 200
    names = [one["name"] for one in service.get(f"/jobs/{job}/artifacts")["data"]]
    assert any(name.startswith("checkpoint-") for name in names)
    assert service.http.get(f"/jobs/{job}/student").status_code == 409


def test_divergence_fails_the_job_with_a_problem(service, digits, teacher) -> None:
    job = service.post(
        "/jobs",
        kd_job(
            teacher,
            digits,
            student={"network": mlp()},
            method={"name": "logits"},
            training={
                "epochs": 40,
                "optimizer": {"name": "sgd", "lr": 50.0, "momentum": 0.0},
                "schedule": {"name": "constant", "warmup_epochs": 2000},
            },
        ),
    )["id"]
    ended = service.ended(job)
    assert ended["state"] == "failed"
    assert ended["error"]["code"] == "training_diverged"
    assert "lr" in ended["error"]["detail"]
    names = [one["name"] for one in service.get(f"/jobs/{job}/artifacts")["data"]]
    assert any(name.startswith("checkpoint-") for name in names)
    metrics = service.get(f"/jobs/{job}/metrics?keys=train/loss")
    assert metrics["series"][0]["count"] > 0
    assert service.http.get("/readyz").is_success


def test_a_killed_trainer_costs_an_attempt_but_no_bit(service, digits, teacher) -> None:
    body = kd_job(teacher, digits, training={"epochs": 400, "seed": 7}, baseline=None)
    plain = service.post("/jobs", body)["id"]
    assert service.ended(plain)["state"] == "succeeded"
    shot = service.post("/jobs", body)["id"]
    service.until(f"/jobs/{shot}", lambda it: it["progress"]["fraction"] > 0.3)
    for trainer in service.trainers():
        trainer.kill()
    ended = service.ended(shot)
    assert ended["state"] == "succeeded", ended["error"]
    assert ended["attempt"] > 1
    assert student_sha256(service, plain) == student_sha256(service, shot)


def test_a_killed_worker_is_not_waited_for_until_its_lease_ends(service, digits, teacher) -> None:
    """`make serve` starts it again, and what it left is known to be dead: no minute is lost."""
    body = kd_job(teacher, digits, training={"epochs": 400, "seed": 9}, baseline=None)
    job = service.post("/jobs", body)["id"]
    service.until(f"/jobs/{job}", lambda it: it["progress"]["fraction"] > 0.3)
    for child in psutil.Process(service.process.pid).children():
        if "train.high,train,train.low" in child.cmdline():
            child.kill()
    service.until(f"/jobs/{job}", lambda it: it["attempt"] == 2, 50)  # the lease is a minute
    assert service.ended(job)["state"] == "succeeded"
    reasons = [event["reason"] for event in service.get(f"/jobs/{job}/events")["data"]]
    assert "its worker's process ended" in reasons


def test_a_pause_costs_no_bit(service, digits, teacher) -> None:
    body = kd_job(teacher, digits, training={"epochs": 400, "seed": 8}, baseline=None)
    plain = service.post("/jobs", body)["id"]
    assert service.ended(plain)["state"] == "succeeded"
    broken = service.post("/jobs", body)["id"]
    service.until(f"/jobs/{broken}", lambda it: it["progress"]["fraction"] > 0.3)
    assert service.http.post(f"/jobs/{broken}/pause").json()["state"] == "pausing"
    paused = service.until(f"/jobs/{broken}", lambda it: it["state"] != "pausing", 20)
    assert paused["state"] == "paused"
    assert 0.3 < paused["progress"]["fraction"] < 1
    saved = [
        one["facts"]["step"]
        for one in service.get(f"/jobs/{broken}/artifacts")["data"]
        if one["kind"] == "checkpoint"
    ]
    assert paused["progress"]["step"] == max(saved)
    assert service.http.post(f"/jobs/{broken}/resume").json()["state"] == "queued"
    ended = service.ended(broken)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 2), ended["error"]
    assert student_sha256(service, plain) == student_sha256(service, broken)
    events = service.get(f"/jobs/{broken}/events")["data"]
    assert [event["to_state"] for event in reversed(events)] == [
        "queued",
        "running",
        "pausing",
        "paused",
        "queued",
        "running",
        "succeeded",
    ]


def test_a_job_goes_on_from_anothers_checkpoint(service, digits, teacher) -> None:
    """The same job again from its end is the same student; a longer one only trains the rest."""
    body = kd_job(teacher, digits, training={"epochs": 20, "seed": 9}, baseline=None)
    first = service.post("/jobs", body)["id"]
    assert service.ended(first)["state"] == "succeeded"
    (best,) = [
        one
        for one in service.get(f"/jobs/{first}/artifacts")["data"]
        if one["kind"] == "checkpoint" and one["facts"]["best"]
    ]
    again = service.post(f"/jobs/{first}/clone", {"from_checkpoint": "best"})["id"]
    longer = service.post(
        f"/jobs/{first}/clone",
        {"from_checkpoint": best["name"], "overrides": {"training": {"epochs": 40}}},
    )["id"]
    assert service.ended(again)["state"] == "succeeded"
    assert student_sha256(service, first) == student_sha256(service, again)
    ended = service.ended(longer)
    assert ended["state"] == "succeeded"
    assert ended["progress"]["step"] == 2 * best["facts"]["step"]
    (loss,) = service.get(f"/jobs/{longer}/metrics?keys=train/loss")["series"]
    assert min(loss["x"]) > best["facts"]["step"]


def student_sha256(service, job: str) -> str:
    return hashlib.sha256(service.http.get(f"/jobs/{job}/student").content).hexdigest()
