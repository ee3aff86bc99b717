"""One key makes one job: under a crowd, and when the process dies that has just made it."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpcore
import httpx
import psycopg
import pytest
import sqlalchemy as sa

from app.db import Database
from app.migrate import upgrade
from app.settings import Settings
from app.storage import DirectoryStorage
from app.tables import IdempotencyKey, Job, JobEvent
from benchmarks.chaos.servers import Postgres
from tests.api.helpers import Rows, assert_problem, job_body
from tests.processes import Api, apis, own_postgres

CROWD = 300
KEY = {"Idempotency-Key": "the-one-key"}


def counted(database: Database, table: Any) -> int:
    with database.reading() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


async def crowd(urls: list[str], bodies: list[dict[str, Any]], key: str) -> list[httpx.Response]:
    """All of these at once, over connections that are open already, to the processes in turn.

    A connection each: a pool of hundreds looks through all of them at every request, for so long
    that the first may be closed for their silence.
    """
    async with AsyncExitStack() as stack:

        async def opened(number: int) -> httpcore.AsyncHTTPConnection:
            origin = httpcore.URL(urls[number % len(urls)]).origin
            connection = httpcore.AsyncHTTPConnection(origin, keepalive_expiry=60)
            await stack.enter_async_context(connection)
            await connection.request("GET", f"{urls[number % len(urls)]}/healthz")
            return connection

        async def send(number: int, body: dict[str, Any]) -> httpx.Response:
            url = f"{urls[number % len(urls)]}/jobs"
            request = httpx.Request("POST", url, json=body, headers={"Idempotency-Key": key})
            answer = await connections[number].request(
                "POST", url, headers=request.headers.raw, content=request.content
            )
            return httpx.Response(answer.status, headers=answer.headers, content=answer.content)

        connections = await asyncio.gather(*(opened(number) for number in range(len(bodies))))
        return await asyncio.gather(*(send(n, body) for n, body in enumerate(bodies)))


@pytest.mark.slow
def test_a_crowd_before_two_processes(settings: Settings, database: Database) -> None:
    body = job_body(Rows(database, DirectoryStorage(settings.home / "artifacts")))
    with apis(2, settings) as served:
        urls = [api.url for api in served]
        answers = asyncio.run(crowd(urls, [body] * CROWD, KEY["Idempotency-Key"]))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.content for answer in answers}) == 1
        assert len({answer.headers["location"] for answer in answers}) == 1
        first = [answer for answer in answers if "idempotency-replayed" not in answer.headers]
        assert len(first) == 1
        assert counted(database, Job) == 1
        assert counted(database, JobEvent) == 1
        for url in urls:
            other = httpx.post(f"{url}/jobs", json={**body, "name": "other"}, headers=KEY)
            assert_problem(other, 422, "idempotency_key_reused")
        # Two bodies race for a key: one of them wins, and all of the others hear of it.
        bodies = [{**body, "name": f"body {n % 2}"} for n in range(100)]
        answers = asyncio.run(crowd(urls, bodies, "contended"))
    made = {answer.content for answer in answers if answer.status_code == 202}
    assert len(made) == 1
    refused = [answer for answer in answers if answer.status_code != 202]
    assert len(refused) == 50
    assert {answer.json()["code"] for answer in refused} == {"idempotency_key_reused"}
    assert counted(database, Job) == 2


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with own_postgres() as server:
        yield server


def test_a_crash_between_commit_and_answer(
    postgres: Postgres, broker_url: str, tmp_path: Path
) -> None:
    """PostgreSQL is told to wait for a standby that there is not: a commit is durable then, and
    not yet confirmed. That is the moment at which the API is killed."""
    settings = Settings(database_url=postgres.url, broker_url=broker_url, home=tmp_path / "home")
    upgrade(settings)
    database = Database(settings.database)
    body = job_body(Rows(database, DirectoryStorage(settings.home / "artifacts")))
    with apis(1, settings) as (api,), psycopg.connect(postgres.url, autocommit=True) as admin:
        confirm(admin, by="nobody")
        lost = Lost(api, body)
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        until(lambda: admin.execute(waiting).fetchone() is not None)
        api.kill()
        confirm(admin, by="")
        assert lost.outcome() == "no answer"
        until(lambda: counted(database, Job) == 1)
        retried(api, body, database)
    database.close()


def test_a_crash_before_the_answer_is_read(broker_url: str, tmp_path: Path) -> None:
    """SQLite: killed as soon as its row is seen, while nobody has read an answer."""
    settings = Settings(broker_url=broker_url, home=tmp_path / "home")
    upgrade(settings)
    database = Database(settings.database)
    body = job_body(Rows(database, DirectoryStorage(settings.home / "artifacts")))
    with apis(1, settings) as (api,):
        request = httpx.Request("POST", f"{api.url}/jobs", json=body, headers=KEY)
        with socket.create_connection(("127.0.0.1", api.port)) as connection:
            head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
            connection.sendall(f"POST /jobs HTTP/1.1\r\n{head}\r\n".encode() + request.read())
            until(lambda: counted(database, Job) == 1)
            api.kill()
        retried(api, body, database)
    database.close()


class Lost:
    """A client in a thread of its own, whose answer will not come."""

    def __init__(self, api: Api, body: dict[str, Any]) -> None:
        self._said = ""
        self._thread = threading.Thread(target=self._send, args=(api.url, body))
        self._thread.start()

    def _send(self, url: str, body: dict[str, Any]) -> None:
        try:
            answer = httpx.post(f"{url}/jobs", json=body, headers=KEY, timeout=60)
            self._said = f"answered {answer.status_code}"
        except httpx.TransportError:
            self._said = "no answer"

    def outcome(self) -> str:
        self._thread.join(30)
        return self._said


def confirm(admin: psycopg.Connection[Any], *, by: str) -> None:
    """Which standby a commit waits for; an empty name is none."""
    admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{by}'")
    admin.execute("SELECT pg_reload_conf()")
    until(lambda: admin.execute("SHOW synchronous_standby_names").fetchone() == (by,))


def retried(api: Api, body: dict[str, Any], database: Database) -> None:
    """What the client does then: the same again, at the same address."""
    api.start().wait()
    again = httpx.post(f"{api.url}/jobs", json=body, headers=KEY, timeout=60)
    assert again.status_code == 202
    assert again.headers["idempotency-replayed"] == "true"
    assert counted(database, Job) == 1
    with database.reading() as session:
        kept = session.scalars(sa.select(IdempotencyKey)).one()
        job = session.scalars(sa.select(Job)).one()
    assert again.json() == kept.body
    assert again.json()["id"] == job.id
    assert again.headers["location"] == f"/jobs/{job.id}"
    other = httpx.post(f"{api.url}/jobs", json={**body, "name": "other"}, headers=KEY)
    assert_problem(other, 422, "idempotency_key_reused")


def until(true: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)
