from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app.db import Database
from app.settings import Settings
from app.tables import Job, JobEvent, Teacher
from tests.api.helpers import MLP, SMALL_MLP, Rows, assert_problem, job_body, serve

IMAGE = {"family": "convnet", "inputs": [1, 28, 28], "classes": 10}


def test_a_job_is_queued(api: httpx.Client, rows: Rows, database: Database) -> None:
    body = job_body(rows, name="mine", labels={"team": "vision"})
    made = api.post("/jobs", json=body)
    assert made.status_code == 202, made.text
    job = made.json()
    assert made.headers["location"] == job["links"]["self"] == f"/jobs/{job['id']}"
    assert made.headers["retry-after"] == "1"
    assert (job["state"], job["is_terminal"], job["attempt"]) == ("queued", False, 0)
    assert (job["error"], job["started_at"], job["finished_at"]) == (None, None, None)
    assert job["progress"]["epochs"] == 20
    assert job["progress"]["fraction"] == 0
    assert job["spec"]["method"]["temperature"] == 4.0
    assert job["spec"]["teachers"] == body["teachers"]
    assert set(job["links"]) == {
        "self",
        "metrics",
        "events",
        "logs",
        "stream",
        "student",
        "artifacts",
        "report",
    }
    assert api.get(job["links"]["self"]).json() == job
    with database.reading() as session:
        event = session.scalars(sa.select(JobEvent)).one()
        assert (event.from_state, event.to_state, event.seq) == (None, "queued", 1)


@pytest.mark.parametrize(
    ("changes", "facts", "pointer", "code"),
    [
        ({"teachers": ["tch_0"]}, {}, "/teachers/0", "unknown_teacher"),
        ({"dataset": "dst_0"}, {}, "/dataset", "unknown_dataset"),
        (
            {"student": {"network": SMALL_MLP, "file": "file_0"}},
            {},
            "/student/file",
            "unknown_file",
        ),
        (
            {"student": {"network": {**SMALL_MLP, "inputs": 100}}},
            {},
            "/student/network/inputs",
            "shape_mismatch",
        ),
        (
            {"student": {"network": {**SMALL_MLP, "classes": 7}}},
            {},
            "/student/network/classes",
            "classes_mismatch",
        ),
        ({}, {"feature_shape": [20]}, "/teachers/0", "shape_mismatch"),
        ({}, {"classes": 7}, "/student/network/classes", "classes_mismatch"),
        ({"method": {"name": "supervised"}}, {}, "", "value_error"),
        ({}, {"labelled": False, "class_balance": None}, "/method", "labels_required"),
        (
            {"transfer": {"exclude_classes": [10]}},
            {},
            "/transfer/exclude_classes/0",
            "class_out_of_range",
        ),
        (
            {"transfer": {"exclude_classes": list(range(10))}},
            {},
            "/transfer/exclude_classes",
            "nothing_to_train_on",
        ),
        (
            {"transfer": {"exclude_classes": [1]}, "method": {"name": "logits"}},
            {"labelled": False, "class_balance": None},
            "/transfer/exclude_classes",
            "labels_required",
        ),
        (
            {"training": {"augment": [{"name": "flip"}]}},
            {"feature_shape": [784]},
            "/training/augment/0",
            "images_required",
        ),
        (
            {"training": {"augment": [{"name": "shift", "pixels": 28}]}},
            {},
            "/training/augment/0/pixels",
            "shift_too_large",
        ),
        (
            {
                "training": {
                    "augment": [{"name": "shift", "pixels": 14}, {"name": "crop", "padding": 14}]
                }
            },
            {},
            "/training/augment/1/padding",
            "shift_too_large",
        ),
        (
            {"select": {"metric": "validation/accuracy"}},
            {"rows": {"train": 100}},
            "/select/metric",
            "validation_required",
        ),
        (
            {"select": {"metric": "validation/loss"}, "method": {"name": "logits"}},
            {"labelled": False, "class_balance": None},
            "/select/metric",
            "labels_required",
        ),
        ({"training": {"epochs": 10**9}}, {}, "/training/epochs", "less_than_equal"),
        ({"training": {"batch_size": 0}}, {}, "/training/batch_size", "greater_than_equal"),
        ({"training": {"optimiser": {}}}, {}, "/training/optimiser", "extra_forbidden"),
        ({"method": {"name": "kd", "alpha": 2}}, {}, "/method/alpha", "less_than_equal"),
        ({"method": {"name": "magic"}}, {}, "/method", "union_tag_invalid"),
        ({"labels": {"a b": "c"}}, {}, "/labels/a b", "string_pattern_mismatch"),
    ],
)
def test_what_cannot_be_is_a_422(
    api: httpx.Client,
    rows: Rows,
    snapshot: Any,
    changes: dict[str, Any],
    facts: dict[str, Any],
    pointer: str,
    code: str,
) -> None:
    body = job_body(rows, dataset=rows.dataset(**facts)) | changes
    before = snapshot()
    for query in ("", "?validate_only=true"):
        answer = api.post(f"/jobs{query}", json=body)
        assert answer.status_code == 422, answer.text
        errors = answer.json()["errors"]
        assert (pointer, code) in [(error["pointer"], error["code"]) for error in errors]
    assert snapshot() == before


def test_names_have_defaults_too(api: httpx.Client, rows: Rows) -> None:
    body = job_body(rows, method={"temperature": 7}, training={"optimizer": {"lr": 0.2}})
    spec = api.post("/jobs", json=body).json()["spec"]
    assert (spec["method"]["name"], spec["method"]["temperature"]) == ("kd", 7)
    assert (spec["training"]["optimizer"]["name"], spec["training"]["optimizer"]["lr"]) == (
        "sgd",
        0.2,
    )


@pytest.mark.parametrize(
    ("method", "pointers"),
    [
        ({"alpha": 2}, ["/method/alpha"]),
        ({"alpha": {"start": 0, "end": 2}}, ["/method/alpha/end"]),
        ({"alpha": "x", "temperature": 0}, ["/method/temperature", "/method/alpha"]),
        ({"alpha": []}, ["/method/alpha", "/method/alpha"]),
    ],
)
def test_a_number_or_a_ramp_is_wrong_once(
    api: httpx.Client, rows: Rows, method: dict[str, Any], pointers: list[str]
) -> None:
    errors = api.post("/jobs", json=job_body(rows, method=method)).json()["errors"]
    assert [error["pointer"] for error in errors] == pointers


def test_everything_wrong_is_told_at_once(api: httpx.Client, rows: Rows) -> None:
    student = {"network": {**SMALL_MLP, "inputs": 5, "classes": 3}}
    body = job_body(rows, student=student, transfer={"exclude_classes": [5]})
    errors = api.post("/jobs", json=body).json()["errors"]
    assert len({error["pointer"] for error in errors}) == 4


def test_kd_needs_a_teacher_of_some_kind(api: httpx.Client, rows: Rows) -> None:
    body = job_body(rows) | {"teachers": []}
    assert_problem(api.post("/jobs", json=body), 422, "teacher_required", "/teachers")
    body["dataset"] = rows.dataset(teacher_outputs="logits")
    assert api.post("/jobs", json=body).status_code == 202
    body["teachers"] = [rows.teacher()]
    told = api.post("/jobs?validate_only=true", json=body).json()
    assert [warning["code"] for warning in told["warnings"]] == ["recorded_outputs_unused"]


def test_no_labels_are_needed_with_alpha_1(api: httpx.Client, rows: Rows) -> None:
    dataset = rows.dataset(labelled=False, class_balance=None)
    body = job_body(rows, dataset=dataset, method={"name": "kd", "alpha": 1})
    assert api.post("/jobs", json=body).status_code == 202


def test_classes_in_another_order(api: httpx.Client, rows: Rows) -> None:
    names = list("abcdefghij")
    dataset = rows.dataset(class_names=names)
    same, other = rows.teacher(class_names=names), rows.teacher(class_names=names[::-1])
    body = job_body(rows, teachers=[same, other], dataset=dataset)
    assert_problem(api.post("/jobs", json=body), 422, "class_names_mismatch", "/teachers/1")


def test_material_that_is_not_ready(api: httpx.Client, rows: Rows) -> None:
    checking = job_body(rows, teachers=[rows.teacher(state="checking")])
    answer = api.post("/jobs", json=checking)
    assert assert_problem(answer, 409, "teacher_checking")["retryable"]
    assert answer.headers["retry-after"]
    checking = job_body(rows, dataset=rows.dataset(state="checking"))
    assert_problem(api.post("/jobs", json=checking), 409, "dataset_checking")
    error = {"detail": "It is broken."}
    rejected = job_body(rows, teachers=[rows.teacher(state="rejected", error=error)])
    body = assert_problem(api.post("/jobs", json=rejected), 422, "teacher_rejected", "/teachers/0")
    assert "It is broken." in body["detail"]


def test_a_network_over_the_memory_budget(settings: Settings, rows: Rows) -> None:
    body = job_body(rows)
    small = settings.model_copy(update={"memory_budget_bytes": 100_000})
    with serve(small) as address, httpx.Client(base_url=address) as api:
        assert_problem(api.post("/jobs", json=body), 422, "over_memory_budget", "/student/network")


def test_validate_only_resolves_and_estimates(api: httpx.Client, rows: Rows, snapshot: Any) -> None:
    body = job_body(rows, student={"network": IMAGE})
    before = snapshot()
    unknown = api.post("/jobs?validate_only=true", json=body)
    assert unknown.status_code == 200, unknown.text
    assert unknown.json()["device"] is None
    assert unknown.json()["estimate"]["seconds"] is None
    assert unknown.json()["spec"]["training"]["precision"] == "auto"

    rows.worker(gflops={"fp32": 100.0, "bf16": 250.0})
    told = api.post("/jobs?validate_only=true", json=body).json()
    assert told["valid"] is True
    assert told["device"] == "cpu"
    assert told["spec"]["training"]["precision"] == "bf16"
    assert told["spec"]["select"] == {"metric": "validation/accuracy", "mode": "max"}
    estimate = told["estimate"]
    assert estimate["seconds"] > 0
    assert estimate["teacher_pass_flops"] == 5000 * 2 * (784 * 32 + 32 * 10)
    assert estimate["memory_bytes"] > 5_000_000
    assert told["warnings"][0]["code"] == "student_not_smaller"
    assert snapshot() == before
    alone = api.post("/jobs?validate_only=true", json=body | {"baseline": None}).json()
    assert estimate["train_flops"] == 2 * alone["estimate"]["train_flops"]
    bare = rows.dataset(labelled=False, class_balance=None)
    taught = body | {"dataset": bare, "method": {"alpha": 1}}
    told = api.post("/jobs?validate_only=true", json=taught).json()
    assert told["estimate"]["train_flops"] == alone["estimate"]["train_flops"]


def test_small_steps_take_their_time(api: httpx.Client, rows: Rows) -> None:
    """However little there is to compute: a step is never free."""
    training = {"epochs": 7, "batch_size": 100}
    body = job_body(rows, training=training, method={"name": "kd"}, baseline={"seeds": 2})
    rows.worker(gflops={"fp32": 1e9}, step_s=0.001)
    told = api.post("/jobs?validate_only=true", json=body).json()["estimate"]
    # Two students and two baselines, 50 batches of 100 an epoch.
    assert told["seconds"] == pytest.approx(2 * 2 * 7 * 50 * 3 * 0.001, rel=0.01)
    assert "3.00 ms for each of 1,400 steps" in told["basis"]


def test_a_dead_worker_tells_nothing(api: httpx.Client, rows: Rows) -> None:
    rows.worker(seen_at=sa.text("'2020-01-01 00:00:00'"))
    told = api.post("/jobs?validate_only=true", json=job_body(rows)).json()
    assert told["device"] is None


def test_selection_without_labels_or_validation(api: httpx.Client, rows: Rows) -> None:
    method = {"name": "logits"}
    unlabelled = rows.dataset(labelled=False, class_balance=None)
    told = api.post(
        "/jobs?validate_only=true", json=job_body(rows, dataset=unlabelled, method=method)
    ).json()
    assert told["spec"]["select"]["metric"] == "validation/agreement"
    bare = rows.dataset(rows={"train": 100})
    told = api.post("/jobs?validate_only=true", json=job_body(rows, dataset=bare)).json()
    assert told["spec"]["select"]["metric"] == "last"
    assert {warning["code"] for warning in told["warnings"]} >= {
        "no_test_split",
        "batch_larger_than_data",
    }


def test_a_smoothed_teacher_is_warned_of(api: httpx.Client, rows: Rows) -> None:
    spec = {"method": {"name": "supervised", "label_smoothing": 0.1}}
    teacher = rows.teacher(job_id=rows.job(state="succeeded", spec=spec))
    told = api.post("/jobs?validate_only=true", json=job_body(rows, teachers=[teacher])).json()
    assert "label_smoothed_teacher" in [warning["code"] for warning in told["warnings"]]


def test_pages_and_filters(api: httpx.Client, rows: Rows) -> None:
    teacher, dataset = rows.teacher(), rows.dataset()
    made = []
    for index in range(7):
        body = job_body(
            rows,
            teachers=[teacher],
            dataset=dataset,
            labels={"team": "a" if index % 2 else "b", "n": str(index)},
        )
        made.append(api.post("/jobs", json=body).json())
    newest_first = [job["id"] for job in reversed(made)]

    seen, cursor = [], None
    while True:
        page = api.get("/jobs", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [job["id"] for job in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == newest_first

    def ids(query: str) -> list[str]:
        return [job["id"] for job in api.get(f"/jobs?{query}").json()["data"]]

    assert ids("label=team:a") == [made[index]["id"] for index in (5, 3, 1)]
    assert ids("label=team:a&label=n:3") == [made[3]["id"]]
    assert ids("label=team:x") == []
    after = made[4]["created_at"].replace("+", "%2B")
    assert ids(f"created_after={after}") == newest_first[:2]
    api.post(f"/jobs/{made[0]['id']}/cancel")
    assert ids("state=cancelled") == [made[0]["id"]]
    assert ids("state=cancelled&state=queued") == newest_first


def test_jobs_are_found_by_a_part_of_their_names(api: httpx.Client, rows: Rows) -> None:
    names = ["MNIST 800-800", "mnist small", "50 % of letters", "50_of_letters"]
    ids = {name: rows.job(name=name) for name in names}

    def found(name: str) -> list[str]:
        data = api.get("/jobs", params={"name": name}).json()["data"]
        return [job["name"] for job in data]

    assert found("mnist") == ["mnist small", "MNIST 800-800"]
    assert found("800-8") == ["MNIST 800-800"]
    assert found("50 %") == ["50 % of letters"]
    assert found("0_o") == ["50_of_letters"], "no wildcard"
    assert found("") == names[::-1]
    assert found("nothing") == []
    cursor = api.get("/jobs?limit=1&name=mnist").json()["next_cursor"]
    last = api.get("/jobs", params={"limit": 1, "name": "mnist", "cursor": cursor}).json()
    assert [job["id"] for job in last["data"]] == [ids["MNIST 800-800"]]
    assert last["next_cursor"] is None
    other = api.get("/jobs", params={"limit": 1, "name": "small", "cursor": cursor})
    assert_problem(other, 400, "invalid_cursor")


def test_a_cursor_belongs_to_its_filters(api: httpx.Client, rows: Rows) -> None:
    for _ in range(3):
        api.post("/jobs", json=job_body(rows, labels={"team": "a"}))
    cursor = api.get("/jobs?limit=1&label=team:a").json()["next_cursor"]
    assert api.get(f"/jobs?limit=1&label=team:a&cursor={cursor}").status_code == 200
    flipped = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    for path in (
        f"/jobs?cursor={cursor}",
        f"/jobs?label=team:b&cursor={cursor}",
        f"/teachers?cursor={cursor}",
        f"/jobs?label=team:a&cursor={flipped}",
        "/jobs?cursor=x",
        "/jobs?cursor=%C3%A9",
        "/jobs?cursor=",
    ):
        assert_problem(api.get(path), 400, "invalid_cursor")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "state=lost",
        "label=team",
        "created_after=today",
        "name=%00",
    ],
)
def test_queries_that_are_none(api: httpx.Client, query: str) -> None:
    answer = api.get(f"/jobs?{query}")
    pointer = "/query/" + query.split("=")[0]
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)


def test_unknown_jobs(api: httpx.Client) -> None:
    for verb in ("cancel", "pause", "resume"):
        assert_problem(api.post(f"/jobs/job_0/{verb}"), 404, "job_not_found")
    for path in ("", "/metrics", "/events", "/student", "/report", "/artifacts", "/artifacts/x"):
        assert_problem(api.get(f"/jobs/job_0{path}"), 404, "job_not_found")


def test_a_row_that_makes_no_sense_is_a_500_without_a_trace(api: httpx.Client, rows: Rows) -> None:
    job_id = rows.job()
    rows.set(Job, job_id, state="confused")
    answer = api.get(f"/jobs/{job_id}", headers={"X-Request-Id": "mine"})
    body = assert_problem(answer, 500, "internal_error")
    assert body["request_id"] == "mine"
    assert "confused" not in answer.text
    rows.set(Job, job_id, state="queued")
    rows.set(Teacher, rows.teacher(), network=MLP)
