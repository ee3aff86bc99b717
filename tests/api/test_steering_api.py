"""Cancel, pause, resume, and the audit of it all."""

from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app.db import Database
from app.tables import JobEvent
from tests.api.helpers import Rows, assert_problem, job_body


def test_cancel(api: httpx.Client, rows: Rows, database: Database) -> None:
    queued = rows.job(state="queued")
    for _ in range(2):
        answer = api.post(f"/jobs/{queued}/cancel")
        assert answer.status_code == 200
        assert (answer.json()["state"], answer.json()["is_terminal"]) == ("cancelled", True)
        assert answer.json()["finished_at"] is not None
    running = rows.job(state="running")
    for _ in range(2):
        assert api.post(f"/jobs/{running}/cancel").json()["state"] == "cancelling"
    with database.reading() as session:
        events = session.scalars(sa.select(JobEvent.to_state).order_by(JobEvent.at)).all()
    assert events == ["cancelled", "cancelling"]


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_what_has_ended_cannot_be_cancelled(api: httpx.Client, rows: Rows, state: str) -> None:
    job_id = rows.job(state=state)
    assert_problem(api.post(f"/jobs/{job_id}/cancel"), 409, "job_already_ended")
    assert api.get(f"/jobs/{job_id}").json()["state"] == state


def test_a_queued_job_pauses_at_once_and_resumes(api: httpx.Client, rows: Rows) -> None:
    job = api.post("/jobs", json=job_body(rows)).json()
    path = job["links"]["self"]
    for _ in range(2):
        paused = api.post(f"{path}/pause")
        assert paused.status_code == 200, paused.text
        assert (paused.json()["state"], paused.json()["is_terminal"]) == ("paused", False)
        assert paused.json()["phase"] == "paused"
    for _ in range(2):
        resumed = api.post(f"{path}/resume")
        assert resumed.status_code == 200, resumed.text
        assert (resumed.json()["state"], resumed.json()["phase"]) == ("queued", "queued")
    told = api.get(job["links"]["events"]).json()
    assert [(event["seq"], event["from_state"], event["to_state"]) for event in told["data"]] == [
        (3, "paused", "queued"),
        (2, "queued", "paused"),
        (1, None, "queued"),
    ]
    assert told["data"][0]["reason"] == "resumed by request"
    assert told["next_cursor"] is None


def test_a_running_job_is_asked_to_pause(api: httpx.Client, rows: Rows) -> None:
    job = rows.job(state="running", attempt=1)
    for _ in range(2):
        assert api.post(f"/jobs/{job}/pause").json()["state"] == "pausing"
    answer = api.post(f"/jobs/{job}/resume")
    assert assert_problem(answer, 409, "job_still_pausing")["retryable"]
    assert api.post(f"/jobs/{job}/cancel").json()["state"] == "cancelling"


def test_a_paused_job_can_be_cancelled(api: httpx.Client, rows: Rows) -> None:
    job = rows.job(state="paused")
    assert api.post(f"/jobs/{job}/cancel").json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("succeeded", "job_already_ended"),
        ("failed", "job_already_ended"),
        ("cancelled", "job_already_ended"),
        ("cancelling", "job_being_cancelled"),
    ],
)
@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_what_has_ended_neither_pauses_nor_resumes(
    api: httpx.Client, rows: Rows, snapshot: Any, state: str, code: str, verb: str
) -> None:
    job = rows.job(state=state)
    before = snapshot()
    assert_problem(api.post(f"/jobs/{job}/{verb}"), 409, code)
    assert snapshot() == before


def test_resuming_what_runs_changes_nothing(api: httpx.Client, rows: Rows) -> None:
    job = rows.job(state="running")
    assert api.post(f"/jobs/{job}/resume").json()["state"] == "running"
    assert api.get(f"/jobs/{job}/events").json()["data"] == []


def test_the_audit_comes_in_pages(api: httpx.Client, rows: Rows) -> None:
    job = rows.job(state="queued")
    for verb in ("pause", "resume") * 3:
        api.post(f"/jobs/{job}/{verb}")
    seen, query = [], "limit=4"
    while True:
        page = api.get(f"/jobs/{job}/events?{query}").json()
        seen += [event["seq"] for event in page["data"]]
        if page["next_cursor"] is None:
            break
        query = f"limit=4&cursor={page['next_cursor']}"
    assert seen == [6, 5, 4, 3, 2, 1]
    other = rows.job()
    answer = api.get(f"/jobs/{other}/events?cursor={query.partition('cursor=')[2]}")
    assert_problem(answer, 400, "invalid_cursor")
