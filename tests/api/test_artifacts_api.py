import hashlib
import json

import httpx
import pytest
import redis
import sqlalchemy as sa

from app.db import Database, now_plus
from app.settings import Settings
from app.tables import Export
from tests.api.helpers import Rows, assert_problem, serve

WEIGHTS = bytes(range(256)) * 40
REPORT = {"verdict": "helped", "sentence": "It helped."}


@pytest.fixture
def done(rows: Rows) -> str:
    """A job that succeeded."""
    job_id = rows.job(state="succeeded")
    rows.artifact(job_id, "student.safetensors", WEIGHTS)
    rows.artifact(job_id, "report.json", json.dumps(REPORT).encode(), kind="report", format="json")
    rows.artifact(
        job_id, "checkpoint-7", b"state", kind="checkpoint", format="pt", facts={"best": True}
    )
    return job_id


def test_what_a_job_made(api: httpx.Client, done: str) -> None:
    listed = api.get(f"/jobs/{done}/artifacts").json()["data"]
    assert [item["name"] for item in listed] == [
        "student.safetensors",
        "report.json",
        "checkpoint-7",
    ]
    assert listed[2]["facts"] == {"best": True}
    for item in listed:
        got = api.get(item["url"])
        assert got.headers["etag"] == f'"{item["sha256"]}"'
        assert hashlib.sha256(got.content).hexdigest() == item["sha256"]
        assert len(got.content) == item["size"]


def test_the_student(api: httpx.Client, done: str) -> None:
    got = api.get(f"/jobs/{done}/student")
    assert got.content == WEIGHTS
    assert "student.safetensors" in got.headers["content-disposition"]
    part = api.get(f"/jobs/{done}/student", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, WEIGHTS[100:200])
    rest = api.get(
        f"/jobs/{done}/student", headers={"Range": "bytes=200-", "If-Range": got.headers["etag"]}
    )
    assert WEIGHTS[:200] + rest.content == WEIGHTS
    unchanged = {"If-None-Match": got.headers["etag"]}
    assert api.get(f"/jobs/{done}/student", headers=unchanged).status_code == 304
    assert api.head(f"/jobs/{done}/student").headers["content-length"] == str(len(WEIGHTS))


def test_formats(api: httpx.Client, done: str, rows: Rows) -> None:
    assert_problem(api.get(f"/jobs/{done}/student?format=bundle"), 404, "format_not_made")
    rows.artifact(done, "student.zip", b"PK", format="bundle")
    got = api.get(f"/jobs/{done}/student?format=bundle")
    assert (got.content, got.headers["content-type"]) == (b"PK", "application/zip")
    assert api.get(f"/jobs/{done}/student?format=pickle").status_code == 422


def test_a_format_is_made_when_it_is_asked_for(
    api: httpx.Client, done: str, rows: Rows, database: Database
) -> None:
    address = f"/jobs/{done}/student?format=onnx"
    for _ in range(2):
        asked = api.get(address)
        assert (asked.status_code, asked.headers["retry-after"]) == (202, "2")
        assert asked.json() == {"job": done, "format": "onnx", "state": "making"}
    with database.reading() as session:
        (row,) = session.scalars(sa.select(Export))
        assert (row.job_id, row.format, row.error) == (done, "onnx", None)

    problem = {"code": "format_does_not_fit", "detail": "Its weights are integers."}
    rows.change(sa.update(Export).values(error=problem))
    refused = assert_problem(api.get(address), 409, "format_does_not_fit")
    assert refused["detail"] == problem["detail"]
    assert not refused["retryable"]
    rows.change(sa.update(Export).values(created_at=now_plus(-3601)))
    assert api.get(address).status_code == 202, "another version may be able to"

    rows.artifact(done, "student.onnx", b"onnx", format="onnx")
    assert api.get(address).content == b"onnx"


def test_integers_fit_their_own_format_and_the_bundle(api: httpx.Client, rows: Rows) -> None:
    job_id = rows.job(state="succeeded")
    form = {"weights": 4, "activations": 8, "first_and_last": False}
    rows.artifact(job_id, "student.safetensors", WEIGHTS, facts={"quantization": form})
    rows.artifact(job_id, "student.zip", b"PK", format="bundle")
    assert api.get(f"/jobs/{job_id}/student").content == WEIGHTS
    assert api.get(f"/jobs/{job_id}/student?format=bundle").content == b"PK"
    for format_ in ("onnx", "pt2"):
        answer = api.get(f"/jobs/{job_id}/student?format={format_}")
        detail = assert_problem(answer, 409, "format_does_not_fit")["detail"]
        assert "integers" in detail
        assert "bundle" in detail


def test_asking_for_a_format_rings_for_it_once(settings: Settings, rows: Rows) -> None:
    """On the broker: the row is the truth, the message only the bell."""
    settings = settings.model_copy(update={"broker_url": f"{settings.broker}/7"})
    job = rows.job(state="succeeded")
    rows.artifact(job, "student.safetensors", WEIGHTS)
    broker = redis.Redis.from_url(settings.broker)
    broker.flushdb()
    with serve(settings) as address, httpx.Client(base_url=address) as api:
        for _ in range(3):
            assert api.get(f"/jobs/{job}/student?format=pt2").status_code == 202
    assert broker.llen("light") == 1
    message = json.loads(broker.lpop("light"))
    assert message["headers"]["task"] == "workers.tasks.export_student"
    broker.close()


def test_the_report(api: httpx.Client, done: str) -> None:
    got = api.get(f"/jobs/{done}/report")
    assert got.json() == REPORT
    assert got.headers["content-type"] == "application/json"


def test_not_before_it_succeeded(api: httpx.Client, rows: Rows) -> None:
    running, failed = rows.job(state="running"), rows.job(state="failed")
    rows.artifact(running, "student.safetensors", WEIGHTS)
    for path in ("student", "report"):
        answer = api.get(f"/jobs/{running}/{path}")
        assert assert_problem(answer, 409, "job_not_finished")["retryable"]
        answer = api.get(f"/jobs/{failed}/{path}")
        assert not assert_problem(answer, 409, "job_not_succeeded")["retryable"]
        assert f"no {path}" in answer.json()["detail"]
    assert api.get(f"/jobs/{failed}/artifacts").json() == {"data": []}


@pytest.mark.parametrize("state", ["cancelled", "failed"])
def test_a_student_outlives_its_baselines(api: httpx.Client, rows: Rows, state: str) -> None:
    job_id = rows.job(state=state)
    rows.artifact(job_id, "student.safetensors", WEIGHTS)
    assert api.get(f"/jobs/{job_id}/student").content == WEIGHTS
    assert api.get(f"/jobs/{job_id}/student?format=onnx").status_code == 202
    assert_problem(api.get(f"/jobs/{job_id}/student?format=bundle"), 404, "format_not_made")
    assert_problem(api.get(f"/jobs/{job_id}/report"), 409, "job_not_succeeded")


@pytest.mark.parametrize("name", ["nothing", "../report.json", "%2e%2e/x", "a%00", "/etc/passwd"])
def test_names_that_are_none(api: httpx.Client, done: str, name: str) -> None:
    answer = api.get(f"/jobs/{done}/artifacts/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] in ("artifact_not_found", "not_found", "job_not_found")


def test_what_only_attempts_use_is_not_told_of(api: httpx.Client, rows: Rows) -> None:
    job = rows.job(state="succeeded")
    rows.artifact(job, "stage-0.safetensors", b"stage", kind="deliverable")
    rows.artifact(job, "student.safetensors", WEIGHTS)
    names = [one["name"] for one in api.get(f"/jobs/{job}/artifacts").json()["data"]]
    assert names == ["student.safetensors"]
    hidden = api.get(f"/jobs/{job}/artifacts/stage-0.safetensors")
    assert_problem(hidden, 404, "artifact_not_found")
