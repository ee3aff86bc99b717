"""What Prometheus reads."""

from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from app import tallies
from app.db import Database, now_plus
from app.health.facts import JOBS, Watch
from app.settings import Settings
from app.tables import DEFAULT_PROJECT, Job, Worker
from tests.api.helpers import Rows, serve

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def api(settings: Settings) -> Iterator[httpx.Client]:
    """A process of its own, which has not looked at the database yet."""
    with serve(settings) as address, httpx.Client(base_url=address, timeout=30) as client:
        yield client


def scrape(api: httpx.Client) -> Samples:
    answer = api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"stillhouse_{name}", frozenset(labels.items())]


def test_jobs_by_queue_and_state(api: httpx.Client, rows: Rows) -> None:
    normal, high = {"priority": "normal"}, {"priority": "high"}
    for age in (100, 300):
        rows.job(spec=normal, created_at=now_plus(-age))
    rows.job(spec=high, created_at=now_plus(-20))
    for state, lease_s in (("running", 50), ("running", 40), ("pausing", 45)):
        rows.job(spec=normal, state=state, lease_until=now_plus(lease_s))
    rows.job(spec=normal, state="succeeded", created_at=now_plus(-9000))
    found = scrape(api)
    assert of(found, "jobs", queue="train", state="queued") == 2
    assert of(found, "jobs", queue="train", state="running") == 2
    assert of(found, "jobs", queue="train", state="pausing") == 1
    assert of(found, "jobs", queue="train.high", state="queued") == 1
    assert not any("succeeded" in str(labels) for _, labels in found)
    assert of(found, "running_jobs") == 3
    assert of(found, "oldest_queued_seconds", queue="train") == pytest.approx(300, abs=3)
    assert of(found, "oldest_queued_seconds", queue="train.high") == pytest.approx(20, abs=3)
    assert of(found, "oldest_lease_seconds") == pytest.approx(40, abs=3)
    assert of(found, "database_up") == 1
    assert of(found, "storage_free_bytes") > 2**20


def test_an_overdue_lease_is_below_zero(api: httpx.Client, rows: Rows) -> None:
    rows.job(spec={"priority": "low"}, state="running", lease_until=now_plus(-90))
    assert of(scrape(api), "oldest_lease_seconds") == pytest.approx(-90, abs=3)


def test_workers_and_what_they_counted(api: httpx.Client, rows: Rows, database: Database) -> None:
    for queue, ages in (("train", (1, 2, 200)), ("light", (3,))):
        for age in ages:
            rows.set(Worker, rows.worker(queue=queue), seen_at=now_plus(-age))
    rows.dataset(state="checking")
    rows.evaluation()
    with database.transaction() as session:
        for _ in range(3):
            tallies.count(session, "sweeps")
        tallies.count(session, "recovered", 5)
    found = scrape(api)
    assert of(found, "workers", queue="train") == 2
    assert of(found, "workers", queue="light") == 1
    assert of(found, "heartbeat_lag_seconds", queue="train") == pytest.approx(200, abs=3)
    assert of(found, "checking", kind="datasets") == 1
    assert of(found, "checking", kind="teachers") == 0
    assert of(found, "checking", kind="evaluations") == 1
    assert of(found, "sweeps_total") == 3
    assert of(found, "recovered_total") == 5
    assert of(found, "poisoned_total") == 0
    assert of(found, "last_sweep_seconds") < 5


def test_requests_by_route_never_by_address(api: httpx.Client, rows: Rows) -> None:
    for _ in range(3):
        api.get(f"/jobs/{rows.job()}")
    api.get("/jobs/job_0")
    api.request("TRACE", "/no/such/place")
    found = scrape(api)
    name = "http_request_duration_seconds_count"
    assert of(found, name, method="GET", route="/jobs/{job_id}", status="200") >= 3
    assert of(found, name, method="GET", route="/jobs/{job_id}", status="404") >= 1
    assert of(found, name, method="OTHER", route="none", status="404") >= 1
    routes = {dict(labels).get("route", "") for _, labels in found}
    assert not any("job_0" in route or "such" in route for route in routes)
    assert of(found, "http_requests_running") == 1, "this one"


def test_two_processes_tell_the_same(settings: Settings, rows: Rows, api: httpx.Client) -> None:
    rows.job(spec={"priority": "normal"})
    with serve(settings) as address, httpx.Client(base_url=address) as other:
        told = [of(scrape(one), "jobs", queue="train", state="queued") for one in (api, other)]
    assert told == [1, 1]


def test_scrapes_ask_the_database_once_a_second(database: Database) -> None:
    statements: list[str] = []
    sa.event.listen(
        database.engine, "after_cursor_execute", lambda *a: statements.append(a[2]), named=False
    )
    watch = Watch(database)
    for _ in range(50):
        watch.facts()
    assert 0 < len(statements) <= 12, statements


def test_a_database_that_is_away_is_told(settings: Settings) -> None:
    url = "postgresql://stillhouse:secret@127.0.0.1:1/none"
    with (
        serve(settings.model_copy(update={"database_url": url})) as address,
        httpx.Client(base_url=address) as api,
    ):
        found = scrape(api)
    assert of(found, "database_up") == 0
    assert not any(name == "stillhouse_jobs" for name, _ in found)


def test_many_jobs_that_have_ended_cost_nothing(database: Database) -> None:
    """The scrape reads the index of states: 20,000 rows more must not be met."""
    with database.transaction() as session:
        row = {"project_id": DEFAULT_PROJECT, "name": "j", "state": "succeeded", "spec": {}}
        session.execute(
            sa.insert(Job), [{"id": f"job_{n}", "progress": {}, **row} for n in range(20_000)]
        )
    explain = "EXPLAIN QUERY PLAN" if database.engine.dialect.name == "sqlite" else "EXPLAIN"
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        statement = JOBS.compile(connection, compile_kwargs={"literal_binds": True})
        plan = connection.exec_driver_sql(f"{explain} {statement}".replace("%", "%%")).all()
    assert "ix_jobs_state_created" in str(plan)
