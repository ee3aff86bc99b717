"""What can be deleted, what is still in use, and what goes along."""

import threading
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app.db import Database, now
from app.states import TERMINAL, State
from app.tables import (
    Artifact,
    Dataset,
    File,
    Job,
    JobEvent,
    JobLabel,
    MetricPoint,
    MetricSeries,
    Teacher,
)
from tests.api.helpers import MLP, SMALL_MLP, Rows, assert_problem, checkpoint, job_body, upload

GOES_ALONG = (Job, JobLabel, JobEvent, MetricSeries, MetricPoint, Artifact)


def test_a_job_goes_with_all_it_has(api: httpx.Client, rows: Rows, database: Database) -> None:
    job = api.post("/jobs", json=job_body(rows, labels={"team": "a"})).json()["id"]
    rows.artifact(job, "student.safetensors", b"weights")
    with database.transaction() as session:
        series = MetricSeries(job_id=job, key="train/loss")
        session.add(series)
        session.flush()
        session.add(MetricPoint(series_id=series.id, step=1, seq=1, epoch=1, time=1, value=1))
    teacher = rows.teacher(job_id=job)
    assert_problem(api.delete(f"/jobs/{job}"), 409, "job_not_ended")
    rows.set(Job, job, state="succeeded", finished_at=now())
    answer = api.delete(f"/jobs/{job}")
    assert (answer.status_code, answer.content) == (204, b"")
    with database.reading() as session:
        for table in GOES_ALONG:
            assert session.scalar(sa.select(sa.func.count()).select_from(table)) == 0
    assert_problem(api.delete(f"/jobs/{job}"), 404, "job_not_found")
    assert_problem(api.get(f"/jobs/{job}"), 404, "job_not_found")
    assert api.get(f"/teachers/{teacher}").json()["job"] is None


@pytest.mark.parametrize("state", sorted(set(State) - TERMINAL))
def test_a_job_that_has_not_ended_stays(api: httpx.Client, rows: Rows, state: str) -> None:
    job = rows.job(state=state)
    assert_problem(api.delete(f"/jobs/{job}"), 409, "job_not_ended")
    assert api.get(f"/jobs/{job}").json()["state"] == state


def test_teachers_and_datasets_of_a_job(api: httpx.Client, rows: Rows) -> None:
    body = job_body(rows)
    job = api.post("/jobs", json=body).json()["id"]
    for path, kind in (
        (f"/teachers/{body['teachers'][0]}", "teacher"),
        (f"/datasets/{body['dataset']}", "dataset"),
    ):
        refused = assert_problem(api.delete(path), 409, f"{kind}_in_use")
        assert job in refused["detail"]
        assert api.get(path).is_success
    api.post(f"/jobs/{job}/cancel")
    for path in (f"/teachers/{body['teachers'][0]}", f"/datasets/{body['dataset']}"):
        assert api.delete(path).status_code == 204
        assert api.get(path).status_code == api.delete(path).status_code == 404
    assert api.get(f"/jobs/{job}").json()["spec"]["teachers"] == body["teachers"]


def test_a_name_that_looks_like_an_id_uses_nothing(api: httpx.Client, rows: Rows) -> None:
    teacher = rows.teacher()
    assert api.post("/jobs", json=job_body(rows, name=teacher)).status_code == 202
    assert api.delete(f"/teachers/{teacher}").status_code == 204


def test_files_and_who_uses_them(api: httpx.Client, rows: Rows) -> None:
    file = upload(api, checkpoint(), "weights.safetensors")
    body = job_body(rows, student={"network": SMALL_MLP, "file": file})
    users = {
        "teacher": api.post("/teachers", json={"name": "t", "file": file, "network": MLP}),
        "job": api.post("/jobs", json=body),
    }
    table = upload(api, b"label,a\n0,1\n1,2\n", "table.csv")
    source: dict[str, Any] = {"kind": "file", "files": {"train": [table]}}
    dataset = api.post("/datasets", json={"name": "d", "source": source}).json()["id"]
    refused = assert_problem(api.delete(f"/files/{file}"), 409, "file_in_use")
    for user in users.values():
        assert user.json()["id"] in refused["detail"]
    assert dataset in assert_problem(api.delete(f"/files/{table}"), 409, "file_in_use")["detail"]

    assert api.delete(f"/teachers/{users['teacher'].json()['id']}").status_code == 204
    api.post(f"/jobs/{users['job'].json()['id']}/cancel")
    assert api.delete(f"/datasets/{dataset}").status_code == 204
    for path in (f"/files/{file}", f"/files/{table}"):
        assert api.delete(path).status_code == 204
        assert_problem(api.get(path), 404, "file_not_found")
        assert_problem(api.delete(path), 404, "file_not_found")


def test_many_users_are_not_all_named(api: httpx.Client, rows: Rows) -> None:
    body = job_body(rows)
    for _ in range(12):
        assert api.post("/jobs", json=body).status_code == 202
    detail = assert_problem(api.delete(f"/datasets/{body['dataset']}"), 409, "dataset_in_use")
    assert "and 2 more" in detail["detail"]


@pytest.mark.parametrize("kind", [Teacher, Dataset, File, Job])
def test_unknown_ones(api: httpx.Client, kind: Any) -> None:
    prefix = {"teachers": "tch", "datasets": "dst", "files": "file", "jobs": "job"}
    table = kind.__tablename__
    path = f"/{table}/{prefix[table]}_0"
    assert_problem(api.delete(path), 404, f"{table.removesuffix('s')}_not_found")


@pytest.mark.parametrize("kind", ["dataset", "teacher"])
def test_what_was_there_for_the_last_job(
    api: httpx.Client, rows: Rows, snapshot: Any, kind: str
) -> None:
    body = job_body(rows)
    named = {"dataset": body["dataset"], "teacher": body["teachers"][0]}[kind]
    job = api.post("/jobs", json=body).json()["id"]
    api.post(f"/jobs/{job}/cancel")
    assert api.delete(f"/{kind}s/{named}").status_code == 204
    before = snapshot()
    refused = assert_problem(api.post("/jobs", json=body), 422, f"unknown_{kind}")
    assert (
        refused["errors"][0]["pointer"] == {"dataset": "/dataset", "teacher": "/teachers/0"}[kind]
    )
    assert snapshot() == before


@pytest.mark.parametrize("seen", [False, True])
def test_a_teacher_is_not_deleted_under_a_new_job(address: str, rows: Rows, seen: bool) -> None:
    """Whichever comes first, no job lacks its teacher, be it `seen` by an earlier one or not."""
    dataset = rows.dataset()
    for _ in range(15):
        teacher = rows.teacher()
        body = job_body(rows, teachers=[teacher], dataset=dataset)
        if seen:
            job = httpx.post(f"{address}/jobs", json=body).json()["id"]
            assert httpx.post(f"{address}/jobs/{job}/cancel").is_success
        ready = threading.Barrier(2)
        answers: dict[str, int] = {}

        def ask(
            method: str,
            path: str,
            body: Any,
            ready: threading.Barrier = ready,
            answers: dict[str, int] = answers,
        ) -> None:
            with httpx.Client(base_url=address) as api:
                api.get("/healthz")
                ready.wait()
                answers[method] = api.request(method, path, json=body).status_code

        threads = [
            threading.Thread(target=ask, args=("POST", "/jobs", body)),
            threading.Thread(target=ask, args=("DELETE", f"/teachers/{teacher}", None)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (answers["POST"], answers["DELETE"]) in {(202, 409), (422, 204)}
