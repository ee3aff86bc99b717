"""Controls of a job: what is refused, and what they are estimated to take."""

from typing import Any

import httpx
import pytest

from tests.api.helpers import MLP, SMALL_MLP, Rows, assert_problem, job_body

EVERY = [
    {"name": "label_smoothing", "smoothing": 0.2},
    {"name": "cwtm"},
    {"name": "permuted"},
    {"name": "random_teacher"},
]
DEEP = {**SMALL_MLP, "hidden": [16, 12, 8]}
POINTER = "/baseline/controls/0"


def asked(*names: str, **fields: Any) -> dict[str, Any]:
    return {"controls": [{"name": name} for name in names], **fields}


def test_controls_are_kept_with_their_defaults(api: httpx.Client, rows: Rows) -> None:
    body = job_body(rows, baseline=asked("label_smoothing", "permuted", seeds=2))
    made = api.post("/jobs", json=body)
    assert made.status_code == 202, made.text
    assert made.json()["spec"]["baseline"] == {
        "seeds": 2,
        "controls": [{"name": "label_smoothing", "smoothing": 0.1}, {"name": "permuted"}],
    }
    plain = api.post("/jobs", json=job_body(rows)).json()
    assert plain["spec"]["baseline"] == {"seeds": 1, "controls": []}


@pytest.mark.parametrize(
    ("control", "method", "facts", "code"),
    [
        ("label_smoothing", {"name": "supervised"}, {}, "nothing_to_compare"),
        ("label_smoothing", {"alpha": 1}, {"labelled": False}, "labels_required"),
        ("cwtm", {"name": "one"}, {}, "teacher_required"),
        ("permuted", {"name": "codistillation"}, {}, "teacher_required"),
        ("permuted", {"name": "rkd"}, {}, "no_soft_targets"),
        ("permuted", {"name": "specialists"}, {}, "no_soft_targets"),
        ("random_teacher", {"name": "dml"}, {}, "teacher_required"),
        ("random_teacher", {}, {"teacher_outputs": "logits"}, "checkpoint_required"),
        ("label_smoothing", {"name": "apprentice"}, {}, "unlike_the_baseline"),
        ("cwtm", {"name": "apprentice", "scheme": "b"}, {}, "unlike_the_baseline"),
        ("permuted", {"name": "apprentice", "scheme": "a"}, {}, "teacher_required"),
        ("random_teacher", {"name": "apprentice", "gamma": 0}, {}, "teacher_required"),
    ],
)
def test_a_control_that_makes_no_sense_is_refused(
    api: httpx.Client,
    rows: Rows,
    control: str,
    method: dict[str, Any],
    facts: dict[str, Any],
    code: str,
) -> None:
    method = {"name": "kd", **method}
    teaches = method["name"] in ("kd", "rkd", "specialists", "apprentice")
    teaches &= method.get("scheme") != "a" and method.get("gamma") != 0
    teachers = [rows.teacher()] if teaches and "teacher_outputs" not in facts else []
    body = {
        "teachers": teachers,
        "dataset": rows.dataset(**facts),
        "student": {"network": {**SMALL_MLP, "hidden": [8, 8]}},
        "method": method,
        "baseline": asked(control),
    }
    problem = assert_problem(api.post("/jobs", json=body), 422, code, POINTER)
    assert [error["pointer"] for error in problem["errors"]] == [POINTER]
    assert api.post("/jobs", json=body | {"baseline": {}}).status_code == 202


def test_outputs_that_no_one_learns_from_make_no_controls(api: httpx.Client, rows: Rows) -> None:
    """A data set brings a teacher's outputs, and the method trains a teacher of its own."""
    body = {
        "dataset": rows.dataset(teacher_outputs="logits"),
        "student": {"network": DEEP},
        "method": {"name": "apprentice", "scheme": "a"},
    }
    assert api.post("/jobs", json=body).status_code == 202
    body |= {"baseline": asked("permuted")}
    assert_problem(api.post("/jobs", json=body), 422, "teacher_required", POINTER)


def test_students_of_integers_have_controls(api: httpx.Client, rows: Rows) -> None:
    body = job_body(rows, student={"network": DEEP, "quantize": {"weights": 4}})
    assert api.post("/jobs", json=body | {"baseline": {"controls": EVERY}}).status_code == 202
    for scheme in ("b", "c"):
        body = job_body(
            rows,
            student={"network": DEEP},
            method={"name": "apprentice", "scheme": scheme},
            baseline=asked("permuted", "random_teacher"),
        )
        answer = api.post("/jobs", json=body)
        assert answer.status_code == 202, answer.text


def test_two_classes_have_no_similarities(api: httpx.Client, rows: Rows) -> None:
    two = {"classes": 2, "class_balance": {"train": [2500, 2500]}}
    body = job_body(
        rows,
        teachers=[rows.teacher(network={**MLP, "classes": 2})],
        dataset=rows.dataset(**two),
        student={"network": {**SMALL_MLP, "classes": 2}},
        baseline=asked("permuted"),
    )
    assert_problem(api.post("/jobs", json=body), 422, "too_few_classes", POINTER)


@pytest.mark.parametrize(
    ("controls", "detail"),
    [
        ([{"name": "cwtm"}, {"name": "cwtm"}], "controls names one twice"),
        ([{"name": "label_smoothing", "smoothing": 1}], "less than 1"),
        ([{"name": "dkpp"}], "random_teacher"),
        ([{"name": "cwtm", "temperature": 4}], "not permitted"),
    ],
)
def test_controls_that_nobody_knows(
    api: httpx.Client, rows: Rows, controls: list[dict[str, Any]], detail: str
) -> None:
    answer = api.post("/jobs", json=job_body(rows, baseline={"controls": controls}))
    assert_problem(answer, 422, "validation_failed")
    assert detail in answer.text


def test_recorded_outputs_have_the_controls_that_need_no_checkpoint(
    api: httpx.Client, rows: Rows
) -> None:
    body = {
        "dataset": rows.dataset(teacher_outputs="probabilities"),
        "student": {"network": SMALL_MLP},
        "baseline": asked("label_smoothing", "cwtm", "permuted"),
    }
    assert api.post("/jobs", json=body).status_code == 202


def test_estimates_count_them(api: httpx.Client, rows: Rows) -> None:
    rows.worker(step_s=0.001)
    body = job_body(rows)

    def told(baseline: Any, **changes: Any) -> dict[str, Any]:
        answer = api.post("/jobs?validate_only=true", json=body | changes | {"baseline": baseline})
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["estimate"])

    alone, plain, every = told(None), told({}), told({"controls": EVERY})
    assert every["train_flops"] == 3 * plain["train_flops"] == 6 * alone["train_flops"]
    assert every["teacher_pass_flops"] == 2 * plain["teacher_pass_flops"]
    assert every["seconds"] > plain["seconds"]
    assert "4,800 steps" in every["basis"]  # 6 runs of 20 epochs of 40 batches
    thrice = told({"controls": EVERY, "seeds": 3})
    assert thrice["train_flops"] == 3 * every["train_flops"]
    assert thrice["teacher_pass_flops"] == 4 * plain["teacher_pass_flops"]
    # A method of several stages has them in a control that is the method, and nowhere else.
    generations = {"method": {"name": "born_again", "generations": 3}}
    both = told(asked("cwtm", "permuted"), **generations)
    assert both["train_flops"] == (3 + 1 + 1 + 3) * alone["train_flops"]
