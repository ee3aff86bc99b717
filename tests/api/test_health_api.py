import time

import httpx
import pytest
import sqlalchemy as sa

from app.settings import Settings
from app.tables import Worker
from tests.api.helpers import Rows, assert_problem, serve


def test_alive(api: httpx.Client) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}


def test_ready_only_with_a_worker(api: httpx.Client, rows: Rows) -> None:
    answer = api.get("/readyz")
    body = assert_problem(answer, 503, "not_ready", "/checks/worker")
    assert body["retryable"]
    assert len(body["errors"]) == 1
    assert answer.headers["retry-after"]

    light = rows.worker(queue="light")
    assert api.get("/readyz").status_code == 503
    worker_id = rows.worker()
    ready = api.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["checks"] == dict.fromkeys(
        ("database", "broker", "storage", "worker"), "ok"
    )

    rows.set(Worker, worker_id, seen_at=sa.text("'2020-01-01 00:00:00'"))
    assert api.get("/readyz").status_code == 503
    assert light


@pytest.mark.parametrize("broker", ["redis://127.0.0.1:1/0", "redis://10.255.255.1:6379/0"])
def test_no_broker(settings: Settings, rows: Rows, broker: str) -> None:
    rows.worker()
    changed = settings.model_copy(update={"broker_url": broker})
    with serve(changed) as address, httpx.Client(base_url=address) as api:
        start = time.monotonic()
        assert_problem(api.get("/readyz"), 503, "not_ready", "/checks/broker")
        assert time.monotonic() - start < 3
        assert api.get("/healthz").status_code == 200


def test_no_database(settings: Settings) -> None:
    url = "postgresql://stillhouse:secret@127.0.0.1:1/none"
    changed = settings.model_copy(update={"database_url": url})
    with serve(changed) as address, httpx.Client(base_url=address) as api:
        answer = api.get("/readyz")
        body = assert_problem(answer, 503, "not_ready", "/checks/database")
        assert {error["code"] for error in body["errors"]} == {"database_missing", "worker_missing"}
        assert "secret" not in answer.text
        unavailable = assert_problem(api.get("/jobs"), 503, "database_unavailable")
        assert unavailable["retryable"]
        assert "secret" not in str(unavailable)
        assert api.get("/healthz").status_code == 200
