"""GET /jobs/{id}/stream, over real connections."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa

from app.db import Database
from app.jobs import steering
from app.settings import Settings
from app.states import State
from app.tables import ApiKey, Job, JobEvent, MetricPoint
from tests.api.callers import add_key, client, guarded
from tests.api.helpers import Rows, assert_problem, serve
from tests.events import Event, Follower, events_of
from tests.workers.rows import ZERO, add_job
from workers.claims import Claim
from workers.ledger import Ledger


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database, lease_s=60, max_attempts=3)


@pytest.fixture
def claim(ledger: Ledger, database: Database) -> Claim:
    claim = ledger.claim(add_job(database), "w")
    assert claim is not None
    return claim


def points(start: int, stop: int, key: str = "train/loss") -> list[list[object]]:
    return [[key, step, step / 10, 1.7e9 + step, 1 / step] for step in range(start, stop)]


def write(ledger: Ledger, claim: Claim, start: int, stop: int) -> None:
    progress = {**ZERO, "step": stop - 1}
    ledger.write(claim, progress=progress, phase="training", points=points(start, stop))


@contextlib.contextmanager
def stream(address: str, job_id: str, **headers: str) -> Iterator[Iterator[Event]]:
    with (
        httpx.Client(base_url=address, timeout=20) as http,
        http.stream("GET", f"/jobs/{job_id}/stream", headers=headers) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        yield events_of(answer.iter_lines())


def until(events: Iterator[Event], enough: Callable[[Follower], bool]) -> Follower:
    found = Follower()
    for event in events:
        found.take(event)
        if enough(found):
            return found
    raise AssertionError("the stream ended")


def test_a_job_from_its_beginning_to_its_end(address: str, ledger: Ledger, claim: Claim) -> None:
    write(ledger, claim, 1, 4)
    with stream(address, claim.job_id) as events:
        seen = [next(events) for _ in range(3)]
        assert [event.name for event in seen] == ["state", "metrics", "progress"]
        assert seen[0].data["to_state"] == "running"
        assert seen[1].data["series"] == [
            {
                "key": "train/loss",
                "step": [1, 2, 3],
                "epoch": [0.1, 0.2, 0.3],
                "time": [1.7e9 + 1, 1.7e9 + 2, 1.7e9 + 3],
                "value": [1, 1 / 2, 1 / 3],
            }
        ]
        assert seen[2].data["progress"]["step"] == 3
        assert seen[2].data["phase"] == "training"
        assert seen[1].number == seen[2].number

        began = time.monotonic()
        write(ledger, claim, 4, 6)
        news = [next(events), next(events)]
        assert time.monotonic() - began < 1
        assert [event.name for event in news] == ["metrics", "progress"]
        assert news[0].data["series"][0]["step"] == [4, 5]

        ledger.finish(claim, State.SUCCEEDED, reason="finished")
        rest = list(events)
    assert [event.name for event in rest] == ["state", "progress", "done"]
    job = httpx.get(f"{address}/jobs/{claim.job_id}").json()
    assert rest[-1].data == job
    assert (job["state"], job["is_terminal"]) == ("succeeded", True)


def test_a_job_that_has_ended_is_told_whole(
    address: str, ledger: Ledger, claim: Claim, database: Database
) -> None:
    write(ledger, claim, 1, 3000)
    ledger.finish(claim, State.FAILED, reason="r", error={"code": "c"})
    with stream(address, claim.job_id) as events:
        seen = Follower()
        for event in events:
            seen.take(event)
    assert (seen.done["state"], seen.done["error"]) == ("failed", {"code": "c"})
    assert sorted(step for _, step in seen.curves) == list(range(1, 3000))
    assert len(seen.heard) == 2999


def test_going_on_after_an_event(address: str, ledger: Ledger, claim: Claim) -> None:
    write(ledger, claim, 1, 4)
    with stream(address, claim.job_id) as events:
        last = until(events, lambda found: found.progress is not None).last
    write(ledger, claim, 4, 6)
    with stream(address, claim.job_id, **{"Last-Event-ID": str(last)}) as events:
        again = until(events, lambda found: found.progress is not None)
    assert again.states == []
    assert again.curves == {("train/loss", 4): 1 / 4, ("train/loss", 5): 1 / 5}
    ledger.finish(claim, State.SUCCEEDED, reason="finished")
    with stream(address, claim.job_id, **{"Last-Event-ID": str(again.last)}) as events:
        rest = list(events)
    assert [event.name for event in rest] == ["state", "progress", "done"]

    url = f"{address}/jobs/{claim.job_id}/stream"
    heard = httpx.get(url, headers={"Last-Event-ID": str(rest[-1].number)})
    assert (heard.status_code, heard.content) == (204, b"")
    # Who was cut off just before the end hears the end.
    before = httpx.get(url, headers={"Last-Event-ID": str(rest[-2].number)})
    assert [event.name for event in events_of(before.text.splitlines())] == ["progress", "done"]


def test_metrics_and_stream_join_without_a_gap(address: str, ledger: Ledger, claim: Claim) -> None:
    write(ledger, claim, 1, 4)
    overview = httpx.get(f"{address}/jobs/{claim.job_id}/metrics").json()
    write(ledger, claim, 4, 6)
    url = f"{address}/jobs/{claim.job_id}/stream?after={overview['seq']}"
    with httpx.stream("GET", url) as answer:
        found = until(events_of(answer.iter_lines()), lambda one: one.progress is not None)
    assert overview["series"][0]["x"] == [1, 2, 3]
    assert [step for _, step in found.curves] == [4, 5]
    page = httpx.get(
        f"{address}/jobs/{claim.job_id}/metrics",
        params={"after": overview["next"], "max_points": 2},
    ).json()
    assert page["seq"] == found.last


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9" * 19])
def test_numbers_that_are_none(address: str, claim: Claim, after: str) -> None:
    url = f"{address}/jobs/{claim.job_id}/stream"
    assert httpx.get(url, headers={"Last-Event-ID": after}).status_code == 422
    assert httpx.get(url, params={"after": after}).status_code == 422


def test_events_that_are_not_there_yet(address: str, claim: Claim) -> None:
    url = f"{address}/jobs/{claim.job_id}/stream"
    asked = httpx.get(url, headers={"Last-Event-ID": "77"})
    assert_problem(asked, 422, "unknown_event", "/header/Last-Event-ID")
    assert_problem(httpx.get(f"{url}?after=77"), 422, "unknown_event", "/query/after")
    assert_problem(httpx.get(f"{address}/jobs/job_0/stream"), 404, "job_not_found")


def test_head_has_the_headers_alone(address: str, claim: Claim) -> None:
    head = httpx.head(f"{address}/jobs/{claim.job_id}/stream")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


def test_a_deleted_job_ends_its_streams(address: str, claim: Claim, database: Database) -> None:
    with stream(address, claim.job_id) as events:
        assert next(events).name == "state"
        with database.transaction() as session:
            session.execute(sa.delete(JobEvent))
            session.execute(sa.delete(Job))
        assert "done" not in [event.name for event in events]


def test_followers_leave_nothing_behind(address: str, claim: Claim, ledger: Ledger) -> None:
    def opened() -> float:
        lines = httpx.get(f"{address}/metrics").text.splitlines()
        (found,) = (line for line in lines if line.startswith("stillhouse_streams "))
        return float(found.split()[1])

    assert opened() == 0
    with stream(address, claim.job_id) as one, stream(address, claim.job_id) as other:
        next(one), next(other)
        assert opened() == 2
    write(ledger, claim, 1, 3)
    deadline = time.monotonic() + 5
    while opened() > 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_stopping_service_ends_streams_at_once(settings: Settings, claim: Claim) -> None:
    ended: list[float] = []

    def follow(address: str) -> None:
        with stream(address, claim.job_id) as events:
            started.set()
            assert "done" not in [event.name for event in events]
        ended.append(time.monotonic())

    started = threading.Event()
    with serve(settings) as address:
        thread = threading.Thread(target=follow, args=(address,))
        thread.start()
        assert started.wait(5)
        time.sleep(0.5)
        began = time.monotonic()
    stopped = time.monotonic() - began
    thread.join(5)
    assert stopped < 2
    assert ended[0] - began < 1


def test_a_revoked_key_ends_its_streams(
    settings: Settings, claim: Claim, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.streams.hub.HEARTBEAT_S", 0.3)
    key_id, key = add_key(database, "jobs:read")
    with (
        guarded(settings) as address,
        client(address, key) as http,
        http.stream("GET", f"/jobs/{claim.job_id}/stream") as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines).startswith("event: ")
        while next(lines) != ": ping":
            pass
        with database.transaction() as session:
            values = {"revoked_at": sa.func.now()}
            session.execute(sa.update(ApiKey).where(ApiKey.id == key_id).values(**values))
        assert "event: done" not in list(lines)


def test_a_reader_that_reads_slowly_misses_nothing(
    settings: Settings, claim: Claim, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It falls behind what is kept, and is told the rest from the database."""
    monkeypatch.setattr("app.streams.topic.KEPT", 2)
    impatient = settings.model_copy(update={"body_window_s": 1.0, "body_min_rate": 1000})
    with serve(impatient) as address:
        parts = urlsplit(address)
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((parts.hostname, parts.port))
            request = f"GET /jobs/{claim.job_id}/stream HTTP/1.1\r\nHost: x\r\n\r\n"
            connection.sendall(request.encode())
            found = b""
            for batch in range(20):
                write(ledger, claim, 1 + 1500 * batch, 1 + 1500 * (batch + 1))
                found += connection.recv(4096)
                time.sleep(0.1)
            ledger.finish(claim, State.SUCCEEDED, reason="finished")
            connection.settimeout(10)
            while not found.endswith(b"0\r\n\r\n"):
                piece = connection.recv(65536)
                assert piece, "cut"
                found += piece
    seen = Follower()
    for event in events_of(_unchunked(found).decode().splitlines()):
        seen.take(event)
    assert sorted(step for _, step in seen.curves) == list(range(1, 30_001))
    assert len(seen.heard) == 30_000
    assert seen.done["state"] == "succeeded"


def _unchunked(answer: bytes) -> bytes:
    rest = answer.partition(b"\r\n\r\n")[2]
    parts = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        parts.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return b"".join(parts)


def test_silence_is_no_reason_to_hang_up(
    settings: Settings, claim: Claim, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A healthy stream outlives every patience of the server's."""
    monkeypatch.setattr("app.streams.hub.HEARTBEAT_S", 0.4)
    short = {"header_timeout_s": 0.3, "body_window_s": 0.3, "body_min_rate": 100_000}
    with (
        serve(settings.model_copy(update=short)) as address,
        stream(address, claim.job_id) as events,
    ):
        assert [next(events).name, next(events).name] == ["state", "progress"]
        time.sleep(2)
        write(ledger, claim, 1, 3)
        assert next(events).name == "metrics"


def test_transitions_by_clients_are_told(
    address: str, claim: Claim, ledger: Ledger, database: Database, rows: Rows
) -> None:
    with stream(address, claim.job_id) as events:
        until(events, lambda found: found.progress is not None)
        with database.transaction() as session:
            steering.pause(session, session.get_one(Job, claim.job_id))
        found = until(events, lambda one: one.progress is not None)
        assert (found.states, found.progress["state"]) == (["pausing"], "pausing")
    with database.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(MetricPoint)) == 0
