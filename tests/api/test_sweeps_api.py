"""/sweeps: all of a grid's jobs or none, where they stand, and which one is best."""

from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app.db import Database
from app.settings import Settings
from app.states import State, transition
from app.tables import Job, JobEvent, Sweep, Teacher
from tests.api.callers import add_key, add_project, client, guarded
from tests.api.helpers import SMALL_MLP, Rows, assert_problem, job_body

GRID = {"method.temperature": [1, 4], "training.optimizer.lr": [0.01, 0.1, 0.2]}


def submit(api: httpx.Client, job: dict[str, Any], grid: Any = GRID, **more: Any) -> httpx.Response:
    return api.post("/sweeps", json={"job": job, "grid": grid, **more})


def made(api: httpx.Client, rows: Rows, grid: Any = GRID, **job: Any) -> dict[str, Any]:
    answer = submit(api, job_body(rows, **job), grid)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def count(database: Database) -> tuple[int, int]:
    with database.reading() as session:
        jobs, sweeps = (
            session.scalar(sa.select(sa.func.count()).select_from(table)) for table in (Job, Sweep)
        )
        return jobs or 0, sweeps or 0


def finish(database: Database, rows: Rows, job_id: str, **report: Any) -> None:
    """As its worker would."""
    with database.transaction() as session:
        transition(session, job_id, State.RUNNING, reason="claimed")
        transition(session, job_id, State.SUCCEEDED, reason="finished")
    facts = {
        "split": "test",
        "accuracy": {"teacher": 0.99, "student": 0.9, "baseline": 0.8},
        "validation": {"accuracy": 0.9, "loss": 0.3},
        "difference": {"accuracy": 0.1, "interval": [0.05, 0.15], "p": 0.01},
        "verdict": "helped",
        **report,
    }
    rows.artifact(job_id, "report.json", b"{}", kind="report", format="json", facts=facts)


def test_a_job_for_each_point(api: httpx.Client, rows: Rows) -> None:
    answer = submit(api, job_body(rows, name=None, labels={"team": "vision"}), name="both")
    assert answer.status_code == 202
    sweep = answer.json()
    assert answer.headers["location"] == f"/sweeps/{sweep['id']}"
    assert (sweep["name"], sweep["state"], sweep["jobs"]) == ("both", "queued", {"queued": 6})
    assert sweep["parameters"] == list(GRID)
    assert [list(row["parameters"].values()) for row in sweep["results"]] == [
        [t, lr] for t in (1, 4) for lr in (0.01, 0.1, 0.2)
    ]
    assert sweep["best"] is None
    jobs = api.get(sweep["links"]["jobs"]).json()["data"]
    assert {job["id"] for job in jobs} == {row["job"] for row in sweep["results"]}
    for row in sweep["results"]:
        job = api.get(f"/jobs/{row['job']}").json()
        assert job["sweep"] == sweep["id"]
        assert job["labels"] == {"team": "vision"}
        assert job["spec"]["method"]["temperature"] == row["parameters"]["method.temperature"]
        lr = job["spec"]["training"]["optimizer"]["lr"]
        assert lr == row["parameters"]["training.optimizer.lr"]
    assert api.get(f"/jobs/{sweep['results'][1]['job']}").json()["name"] == "both 2/6"
    assert api.get(f"/sweeps/{sweep['id']}").json() == sweep
    (listed,) = api.get("/sweeps").json()["data"]
    assert listed == {**sweep, "results": None}
    assert api.get("/jobs?sweep=swp_0").json()["data"] == []


def test_any_field_may_be_in_the_grid(api: httpx.Client, rows: Rows) -> None:
    datasets = [rows.dataset(), rows.dataset()]
    body = job_body(rows)
    del body["dataset"], body["student"]
    grid = {
        "dataset": datasets,
        "student.network": [SMALL_MLP, {**SMALL_MLP, "hidden": [4]}],
        "method": [{"name": "kd", "temperature": 2}, {"name": "logits"}],
        "baseline": [None],
    }
    answer = submit(api, body, grid)
    assert answer.status_code == 202, answer.text
    assert answer.json()["jobs"] == {"queued": 8}


@pytest.mark.parametrize(
    ("grid", "pointer", "code"),
    [
        ({"method.temperature": [1, 0, 2]}, "/grid/method.temperature/1", "greater_than_equal"),
        ({"method.temperatur": [1]}, "/grid/method.temperatur/0", "extra_forbidden"),
        ({"dataset": ["dst_0"]}, "/grid/dataset/0", "unknown_dataset"),
        ({"teachers": [["tch_0"]]}, "/grid/teachers/0/0", "unknown_teacher"),
        (
            {"student.network": [{**SMALL_MLP, "inputs": 5}]},
            "/grid/student.network/0/inputs",
            "shape_mismatch",
        ),
        (
            {"student.network.classes": [10, 9]},
            "/grid/student.network.classes/1",
            "classes_mismatch",
        ),
        ({"method.temperature": [1, 1]}, "/grid/method.temperature/1", "duplicate_value"),
        ({"method": [{}], "method.alpha": [0.5]}, "/grid/method.alpha", "overlapping_fields"),
        ({"name.first": ["x"]}, "/grid/name.first", "no_such_place"),
    ],
)
def test_all_or_nothing(
    api: httpx.Client, rows: Rows, database: Database, grid: Any, pointer: str, code: str
) -> None:
    answer = submit(api, job_body(rows, name="n"), {"training.epochs": [1, 2], **grid})
    body = assert_problem(answer, 422, answer.json()["code"], pointer)
    assert [one["code"] for one in body["errors"] if one["pointer"] == pointer] == [code]
    assert count(database) == (0, 0)


def test_what_is_wrong_with_the_job_is_told_once(api: httpx.Client, rows: Rows) -> None:
    body = assert_problem(
        submit(api, {**job_body(rows), "epochs": 3}), 422, "extra_forbidden", "/job/epochs"
    )
    assert len(body["errors"]) == 1


def test_what_is_wrong_with_some_points_names_them(api: httpx.Client, rows: Rows) -> None:
    """Milestones that fit one schedule and not the other."""
    job = job_body(rows, training={"schedule": {"milestones": [2]}})
    answer = submit(api, job, {"training.schedule.name": ["cosine", "step"]})
    (error,) = assert_problem(answer, 422, "value_error")["errors"]
    assert error["pointer"] == "/job/training/schedule"
    assert 'with training.schedule.name = "cosine"' in error["detail"]


def test_larger_than_wanted(api: httpx.Client, rows: Rows, database: Database) -> None:
    answer = submit(api, job_body(rows), max_jobs=5)
    assert_problem(answer, 422, "too_many_jobs", "/grid")
    assert submit(api, job_body(rows), max_jobs=1001).status_code == 422
    assert count(database) == (0, 0)


def test_a_teacher_that_is_still_checked(api: httpx.Client, rows: Rows) -> None:
    body = job_body(rows, teachers=[rows.teacher(state="checking")])
    assert_problem(submit(api, body), 409, "teacher_checking")


def test_quotas_count_all_of_it(settings: Settings, database: Database, storage: Any) -> None:
    project = add_project(database, "p", max_active_jobs=5)
    rows = Rows(database, storage, project)
    with (
        guarded(settings) as address,
        client(address, add_key(database, project=project)[1]) as api,
    ):
        assert_problem(submit(api, job_body(rows)), 429, "quota_exceeded")
        assert count(database) == (0, 0)
        grid = {"method.temperature": [1, 2, 3]}
        assert submit(api, job_body(rows), grid).status_code == 202
        assert_problem(submit(api, job_body(rows), grid), 429, "quota_exceeded")


def test_the_same_request_again(api: httpx.Client, rows: Rows, database: Database) -> None:
    body = {"job": job_body(rows), "grid": GRID}
    answers = [
        api.post("/sweeps", json=body, headers={"Idempotency-Key": "k"}).json() for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert count(database) == (6, 1)


def test_the_table_and_the_best_on_validation(
    api: httpx.Client, rows: Rows, database: Database
) -> None:
    sweep = made(api, rows, {"method.temperature": [1, 2, 4, 8]})
    ids = [row["job"] for row in sweep["results"]]
    # The best on the test split is not the best on validation.
    finish(database, rows, ids[0], validation={"accuracy": 0.91, "loss": 0.1})
    finish(database, rows, ids[1], validation={"accuracy": 0.93, "loss": 0.4})
    accuracy = {"teacher": 1.0, "student": 0.99, "baseline": None}
    finish(database, rows, ids[2], accuracy=accuracy, difference=None, verdict="no baseline")
    got = api.get(f"/sweeps/{sweep['id']}").json()
    assert (got["state"], got["is_terminal"], got["finished_at"]) == ("running", False, None)
    assert got["jobs"] == {"queued": 1, "succeeded": 3}
    assert got["best"] == {
        "job": ids[1],
        "parameters": {"method.temperature": 2},
        "metric": "validation/accuracy",
        "value": 0.93,
    }
    first, _, third, fourth = got["results"]
    assert (first["test_accuracy"], first["baseline_accuracy"]) == (0.9, 0.8)
    assert (first["difference"]["accuracy"], first["verdict"]) == (0.1, "helped")
    assert (third["test_accuracy"], third["difference"], third["verdict"]) == (
        0.99,
        None,
        "no baseline",
    )
    assert (fourth["state"], fourth["validation"], fourth["verdict"]) == ("queued", None, None)
    finish(database, rows, ids[3])
    got = api.get(f"/sweeps/{sweep['id']}").json()
    assert (got["state"], got["is_terminal"]) == ("succeeded", True)
    assert got["finished_at"] is not None


def test_the_jobs_own_metric_decides(api: httpx.Client, rows: Rows, database: Database) -> None:
    select = {"metric": "validation/loss", "mode": "min"}
    sweep = made(api, rows, {"method.temperature": [1, 2]}, select=select)
    ids = [row["job"] for row in sweep["results"]]
    finish(database, rows, ids[0], validation={"accuracy": 0.91, "loss": 0.1})
    finish(database, rows, ids[1], validation={"accuracy": 0.93, "loss": 0.4})
    best = api.get(f"/sweeps/{sweep['id']}").json()["best"]
    assert (best["job"], best["metric"], best["value"]) == (ids[0], "validation/loss", 0.1)


def test_without_labels_agreement_decides(
    api: httpx.Client, rows: Rows, database: Database
) -> None:
    sweep = made(api, rows, {"method.temperature": [1, 2]})
    ids = [row["job"] for row in sweep["results"]]
    for job_id, agreement in zip(ids, (0.8, 0.9), strict=True):
        finish(database, rows, job_id, validation={"agreement": agreement}, split="train")
    got = api.get(f"/sweeps/{sweep['id']}").json()
    assert (got["best"]["job"], got["best"]["metric"]) == (ids[1], "validation/agreement")
    assert got["results"][0]["test_accuracy"] is None


def test_no_validation_no_best(api: httpx.Client, rows: Rows, database: Database) -> None:
    sweep = made(api, rows, {"method.temperature": [1, 2]})
    finish(database, rows, sweep["results"][0]["job"], validation=None)
    assert api.get(f"/sweeps/{sweep['id']}").json()["best"] is None


def test_cancelling(api: httpx.Client, rows: Rows, database: Database) -> None:
    sweep = made(api, rows)
    ids = [row["job"] for row in sweep["results"]]
    finish(database, rows, ids[0])
    with database.transaction() as session:
        transition(session, ids[1], State.RUNNING, reason="claimed")
    url = f"/sweeps/{sweep['id']}"
    got = api.post(f"{url}/cancel").json()
    assert got["jobs"] == {"succeeded": 1, "cancelling": 1, "cancelled": 4}
    assert_problem(api.delete(url), 409, "sweep_not_ended")
    with database.transaction() as session:
        transition(session, ids[1], State.CANCELLED, reason="released")
    again = api.post(f"{url}/cancel")
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")


def test_what_has_ended_is_not_cancelled(api: httpx.Client, rows: Rows, database: Database) -> None:
    sweep = made(api, rows, {"method.temperature": [1]})
    finish(database, rows, sweep["results"][0]["job"])
    assert_problem(api.post(f"/sweeps/{sweep['id']}/cancel"), 409, "sweep_already_ended")


def test_deleting(api: httpx.Client, rows: Rows, database: Database) -> None:
    sweep = made(api, rows)
    job = sweep["results"][0]["job"]
    teacher = rows.teacher(job_id=job)
    api.post(f"/sweeps/{sweep['id']}/cancel")
    assert api.delete(f"/jobs/{sweep['results'][1]['job']}").status_code == 204
    assert len(api.get(f"/sweeps/{sweep['id']}").json()["results"]) == 5
    assert api.delete(f"/sweeps/{sweep['id']}").status_code == 204
    assert_problem(api.get(f"/sweeps/{sweep['id']}"), 404, "sweep_not_found")
    assert_problem(api.delete(f"/sweeps/{sweep['id']}"), 404, "sweep_not_found")
    assert count(database) == (0, 0)
    with database.reading() as session:
        assert session.scalars(sa.select(JobEvent)).all() == []
        assert session.get_one(Teacher, teacher).job_id is None


def test_webhooks_hear_of_its_end_once(api: httpx.Client, rows: Rows, database: Database) -> None:
    hook = api.post("/webhooks", json={"url": "https://hooks.example.org/"}).json()
    sweep = made(api, rows, {"method.temperature": [1, 2]})
    for row in sweep["results"]:
        finish(database, rows, row["job"])
    told = api.get(f"/webhooks/{hook['id']}/deliveries").json()["data"]
    assert [one["type"] for one in told].count("sweep.succeeded") == 1
    assert {one["type"] for one in told} == {"job.succeeded", "sweep.succeeded"}
    (ended,) = [one for one in told if one["type"] == "sweep.succeeded"]
    assert ended["payload"]["data"] == {"id": sweep["id"], "state": "succeeded"}
