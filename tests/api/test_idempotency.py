import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import sqlalchemy as sa

from app.db import Database
from app.tables import IdempotencyKey, Job
from tests.api.helpers import Rows, assert_problem, job_body

KEY = {"Idempotency-Key": "a-key"}


def test_fifty_duplicates_at_once_make_one_job(
    address: str, rows: Rows, database: Database
) -> None:
    body = job_body(rows)
    together = threading.Barrier(50)

    def send(_: int) -> httpx.Response:
        with httpx.Client(base_url=address, timeout=60) as api:
            api.get("/healthz")
            together.wait()
            return api.post("/jobs", json=body, headers=KEY)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(send, range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    with database.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Job)) == 1


def test_a_replay_is_the_first_answer(api: httpx.Client, rows: Rows) -> None:
    body = job_body(rows)
    first = api.post("/jobs", json=body, headers=KEY)
    api.post(f"{first.headers['location']}/cancel")
    again = api.post("/jobs", json=dict(reversed(body.items())), headers=KEY)
    assert again.status_code == 202
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"


def test_another_body_is_refused(api: httpx.Client, rows: Rows) -> None:
    body = job_body(rows)
    api.post("/jobs", json=body, headers=KEY)
    other = api.post("/jobs", json={**body, "name": "other"}, headers=KEY)
    assert_problem(other, 422, "idempotency_key_reused")
    assert len(api.get("/jobs").json()["data"]) == 1


def test_a_refusal_uses_no_key_up(api: httpx.Client, rows: Rows, database: Database) -> None:
    body = job_body(rows)
    wrong = api.post("/jobs", json={**body, "dataset": "dst_0"}, headers=KEY)
    assert_problem(wrong, 422, "unknown_dataset")
    with database.reading() as session:
        assert session.scalars(sa.select(IdempotencyKey)).all() == []
    assert api.post("/jobs", json=body, headers=KEY).status_code == 202


def test_a_key_belongs_to_one_operation(api: httpx.Client, rows: Rows) -> None:
    digits = {"name": "digits", "source": {"kind": "builtin", "name": "digits"}}
    assert api.post("/datasets", json=digits, headers=KEY).status_code == 202
    assert api.post("/jobs", json=job_body(rows), headers=KEY).status_code == 202


def test_validating_uses_no_key_up(api: httpx.Client, rows: Rows) -> None:
    body = job_body(rows)
    assert api.post("/jobs?validate_only=true", json=body, headers=KEY).status_code == 200
    assert api.post("/jobs", json=body, headers=KEY).status_code == 202


def test_keys_that_are_none(api: httpx.Client, rows: Rows) -> None:
    for key in ("", "x" * 256, "a b"):
        answer = api.post("/jobs", json=job_body(rows), headers={"Idempotency-Key": key})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/header/Idempotency-Key"
