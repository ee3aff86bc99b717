"""Jobs made from jobs."""

from typing import Any

import httpx
import pytest

from app.tables import Job
from tests.api.helpers import SMALL_MLP, Rows, assert_problem, job_body


@pytest.fixture
def original(api: httpx.Client, rows: Rows) -> dict[str, Any]:
    body = job_body(
        rows,
        name="first",
        method={"name": "kd", "temperature": 20, "alpha": 0.7},
        training={"epochs": 3, "optimizer": {"name": "sgd", "lr": 0.5}},
        labels={"team": "a", "n": "1"},
    )
    return dict(api.post("/jobs", json=body).json())


def clone(api: httpx.Client, job: dict[str, Any], overrides: dict[str, Any]) -> httpx.Response:
    return api.post(f"{job['links']['self']}/clone", json={"overrides": overrides})


def test_a_clone_is_the_same_job_again(api: httpx.Client, original: dict[str, Any]) -> None:
    made = api.post(f"/jobs/{original['id']}/clone")
    assert made.status_code == 202, made.text
    job = made.json()
    assert made.headers["location"] == job["links"]["self"]
    assert job["id"] != original["id"]
    assert (job["spec"], job["labels"], job["state"]) == (
        original["spec"],
        original["labels"],
        "queued",
    )


def test_overrides_are_merged(api: httpx.Client, original: dict[str, Any]) -> None:
    overrides = {
        "name": "second",
        "method": {"temperature": 2},
        "training": {"optimizer": {"lr": None}, "augment": [{"name": "flip"}]},
        "student": {"network": {"hidden": [4, 4]}},
        "labels": {"n": None, "more": "b"},
        "baseline": None,
    }
    spec = clone(api, original, overrides).json()["spec"]
    assert spec["method"] == {**original["spec"]["method"], "temperature": 2.0}
    assert spec["training"]["optimizer"]["lr"] == 0.05
    assert spec["training"]["epochs"] == 3
    assert spec["training"]["augment"][0]["name"] == "flip"
    assert spec["student"]["network"]["hidden"] == [4, 4]
    assert spec["student"]["network"]["inputs"] == 784
    assert spec["labels"] == {"team": "a", "more": "b"}
    assert spec["baseline"] is None
    assert api.get(original["links"]["self"]).json()["spec"] == original["spec"]


def test_another_kind_brings_its_own_fields(api: httpx.Client, original: dict[str, Any]) -> None:
    overrides = {
        "method": {"name": "logits"},
        "student": {"network": {"family": "convnet", "inputs": [1, 28, 28], "classes": 10}},
    }
    made = clone(api, original, overrides)
    assert made.status_code == 202, made.text
    assert "temperature" not in made.json()["spec"]["method"]
    assert made.json()["spec"]["student"]["network"]["hidden"] != SMALL_MLP["hidden"]


@pytest.mark.parametrize(
    ("overrides", "pointer", "code"),
    [
        ({"training": {"epochs": 0}}, "/training/epochs", "greater_than_equal"),
        ({"training": {"epoch": 4}}, "/training/epoch", "extra_forbidden"),
        ({"method": {"alpha": 2}}, "/method/alpha", "less_than_equal"),
        ({"dataset": None}, "/dataset", "missing"),
        ({"teachers": ["tch_0"]}, "/teachers/0", "unknown_teacher"),
        ({"student": {"network": SMALL_MLP | {"inputs": 5}}}, None, "shape_mismatch"),
        ({"student": 5}, "/student", "model_type"),
    ],
)
def test_it_is_checked_like_a_new_job(
    api: httpx.Client,
    original: dict[str, Any],
    snapshot: Any,
    overrides: dict[str, Any],
    pointer: str | None,
    code: str,
) -> None:
    before = snapshot()
    answer = clone(api, original, overrides)
    assert answer.status_code == 422, answer.text
    errors = answer.json()["errors"]
    assert code in [error["code"] for error in errors], errors
    if pointer is not None:
        assert pointer in [error["pointer"] for error in errors]
    assert snapshot() == before


def test_bodies_that_are_none(api: httpx.Client, original: dict[str, Any]) -> None:
    path = f"{original['links']['self']}/clone"
    for body in ({"override": {}}, {"overrides": []}, {"overrides": None}, []):
        assert api.post(path, json=body).status_code == 422
    assert_problem(api.post("/jobs/job_0/clone"), 404, "job_not_found")


def test_a_repeated_key_clones_once(api: httpx.Client, original: dict[str, Any]) -> None:
    path = f"{original['links']['self']}/clone"
    for body in (None, {"overrides": {"name": "x"}}):
        key = {"Idempotency-Key": f"clone-{bool(body)}"}
        first, again = (api.post(path, json=body, headers=key) for _ in range(2))
        assert first.status_code == again.status_code == 202, first.text
        assert first.json() == again.json()
        assert again.headers["idempotency-replayed"] == "true"
    changed = api.post(path, json={"overrides": {"name": "y"}}, headers=key)
    assert_problem(changed, 422, "idempotency_key_reused")
    assert len(api.get("/jobs").json()["data"]) == 3


@pytest.fixture
def trained(original: dict[str, Any], rows: Rows) -> dict[str, Any]:
    """The job with two checkpoints, and one of its baseline."""
    for stage, step, best in ((0, 40, False), (0, 120, True), (1, 200, False)):
        rows.artifact(
            original["id"],
            f"checkpoint-{stage}-{step}.safetensors",
            f"state {stage} {step}".encode(),
            kind="checkpoint",
            facts={"stage": stage, "step": step, "best": best},
        )
    resolved = {"device": "cpu", "threads": 1, "precision": "fp32"}
    rows.set(Job, original["id"], state="succeeded", resolved=resolved)
    return original


def extend(api: httpx.Client, job: dict[str, Any], name: str, **overrides: Any) -> httpx.Response:
    body = {"from_checkpoint": name, "overrides": overrides}
    return api.post(f"{job['links']['self']}/clone", json=body)


def test_a_clone_goes_on_from_a_checkpoint(api: httpx.Client, trained: dict[str, Any]) -> None:
    for name in ("best", "checkpoint-0-120.safetensors"):
        answer = extend(api, trained, name, training={"epochs": 9}, method={"temperature": 2})
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert job["spec"]["training"]["epochs"] == 9
        assert job["progress"]["step"] == 120
        # 5,000 examples make 40 steps an epoch: 9 epochs of the student, 9 of its baseline.
        steps = 40
        assert job["progress"]["steps"] == 2 * 9 * steps
        assert job["progress"]["fraction"] == pytest.approx(120 / (2 * 9 * steps), abs=1e-6)
        assert job["progress"]["epoch"] == 120 / steps
        (own,) = api.get(f"{job['links']['self']}/artifacts").json()["data"]
        assert own["name"] == "checkpoint-0-120.safetensors"
        assert own["facts"] == {"stage": 0, "step": 120, "best": False}
        assert api.get(own["url"]).content == b"state 0 120"
    api.delete(trained["links"]["self"])
    assert api.get(own["url"]).content == b"state 0 120", "a copy of its own"


@pytest.mark.parametrize(
    ("name", "overrides", "code", "pointer"),
    [
        ("none-such", {}, "unknown_checkpoint", "/from_checkpoint"),
        ("checkpoint-1-200.safetensors", {}, "checkpoint_of_later_stage", "/from_checkpoint"),
        ("last", {}, "checkpoint_of_later_stage", "/from_checkpoint"),
        ("../x", {}, "validation_failed", "/from_checkpoint"),
        (
            "best",
            {"training": {"epochs": 2}},
            "checkpoint_incompatible",
            "/overrides/training/epochs",
        ),
        (
            "best",
            {"training": {"batch_size": 7}},
            "checkpoint_incompatible",
            "/overrides/training/batch_size",
        ),
        (
            "best",
            {"student": {"network": {"hidden": [9]}}},
            "checkpoint_incompatible",
            "/overrides/student",
        ),
        ("best", {"method": {"name": "logits"}}, "checkpoint_incompatible", None),
        (
            "best",
            {"method": {"standardise": True}},
            "checkpoint_incompatible",
            "/overrides/method/standardise",
        ),
        (
            "best",
            {"select": {"metric": "last"}},
            "checkpoint_incompatible",
            "/overrides/select",
        ),
    ],
)
def test_what_no_checkpoint_can_go_on_as(
    api: httpx.Client,
    trained: dict[str, Any],
    name: str,
    overrides: dict[str, Any],
    code: str,
    pointer: str | None,
) -> None:
    assert_problem(extend(api, trained, name, **overrides), 422, code, pointer)
    assert len(api.get("/jobs").json()["data"]) == 1
