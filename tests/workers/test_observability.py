"""One id, and one trace, from a request through the queue to the attempt; both databases."""

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator

import httpx
import pytest
import redis
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import select

from app import loglines, tracing
from app.queue import Doorbell
from app.tables import JobLog
from tests.api.helpers import serve
from tests.workers.rows import set_job
from tests.workers.test_supervisor import FINISHES, World

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def world(settings, database, storage):
    world = World(settings, database, storage)
    yield world
    world.spawner.close()


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict]]]:
    """What is logged meanwhile, as JSON."""
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    stream = io.StringIO()
    loglines.configure("json", "debug", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


@pytest.fixture
def spans(settings) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.start(settings, "test", exporter)
    yield exporter
    tracing.stop()


def submit(world: World, **headers: str) -> str:
    """A job through the API, and the messages that it rang with."""
    body = {
        "dataset": world.dataset,
        "student": {"network": {"family": "mlp", "inputs": 4, "hidden": [3], "classes": 2}},
        "method": {"name": "supervised"},
    }
    with serve(world.settings) as address, httpx.Client(base_url=address) as api:
        answer = api.post("/jobs", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        return str(answer.json()["id"])


def test_the_request_s_id_is_on_every_line(world, lines) -> None:
    broker = redis.Redis.from_url(world.settings.broker)
    broker.flushdb()
    job_id = submit(world, **{"X-Request-Id": "mine-1"})
    message = json.loads(broker.lpop("train"))
    assert json.loads(base64.b64decode(message["body"]))[0] == [job_id]
    assert message["headers"]["request_id"] == "mine-1"
    broker.close()

    world.run(job_id, FINISHES)
    context = {"job": job_id, "attempt": 1, "request_id": "mine-1"}
    with world.database.reading() as session:
        said = b"".join(session.scalars(select(JobLog.content).order_by(JobLog.start)))
    (begun,) = [line for line in said.decode().splitlines() if "attempt begins" in line]
    assert all(f"{name}={value}" in begun for name, value in context.items())

    (request,) = [line for line in lines() if line["event"] == "request"]
    assert request["request_id"] == "mine-1"
    assert (request["method"], request["path"], request["status"]) == ("POST", "/jobs", 202)
    (ended,) = [line for line in lines() if "ended" in line["event"]]
    assert context.items() <= ended.items()
    assert ended["level"] == "info"
    assert ended["logger"] == "workers.attempt"


def test_what_goes_wrong_in_another_thread_says_whose_it_is(world, lines, monkeypatch) -> None:
    def broken() -> None:
        logging.getLogger("somewhere").warning("cannot")
        raise RuntimeError("really not")

    job_id = world.job()
    set_job(world.database, job_id, request_id="mine-2")
    monkeypatch.setattr("workers.attempt.Run.prepare", lambda _: broken())
    world.run(job_id, FINISHES)
    by_event = {line["event"]: line for line in lines()}
    assert by_event["cannot"]["request_id"] == "mine-2"
    failed = by_event[f"{job_id}: attempt 1 failed"]
    assert failed["job"] == job_id
    assert failed["exception"][0]["exc_value"] == "really not"


def test_reading_is_quiet_and_trouble_is_not(world, lines) -> None:
    with serve(world.settings) as address, httpx.Client(base_url=address) as api:
        api.get("/methods")
        api.get("/jobs/job_0")
    levels = {line["path"]: line["level"] for line in lines() if line["event"] == "request"}
    assert levels == {"/methods": "debug", "/jobs/job_0": "info"}


def test_spans_from_request_to_phase(world, spans) -> None:
    job_id = submit(world, traceparent=TRACEPARENT, **{"X-Request-Id": "mine-3"})
    world.run(job_id, FINISHES)
    found = {span.name: span for span in spans.get_finished_spans()}
    assert all(f"{span.context.trace_id:032x}" == TRACE for span in found.values())
    request, queue, attempt = found["POST /jobs"], found["queue"], found["attempt"]
    assert f"{request.parent.span_id:016x}" == PARENT
    assert queue.parent.span_id == request.context.span_id
    assert attempt.parent.span_id == queue.context.span_id
    assert found["training"].parent.span_id == attempt.context.span_id
    assert request.attributes["http.response.status_code"] == 202
    assert request.attributes["http.route"] == "/jobs"
    assert attempt.attributes["job"] == job_id
    assert attempt.attributes["request_id"] == "mine-3"
    assert attempt.attributes["state"] == "succeeded"
    assert queue.start_time <= queue.end_time <= attempt.end_time


def test_off_nothing_is_traced(settings) -> None:
    tracing.start(settings, "test")
    with tracing.span("anything") as span:
        assert span is None
        assert tracing.traceparent() is None
    bell = Doorbell(settings)
    assert bell._headers() == {}
    bell.close()


def test_the_console_shows_spans(settings, capsys) -> None:
    tracing.start(settings.model_copy(update={"otel": "console"}), "test")
    with tracing.span("here", job="job_1", nothing=None):
        pass
    tracing.stop()
    told = json.loads(capsys.readouterr().err)
    assert told["name"] == "here"
    assert told["attributes"] == {"job": "job_1"}
    assert told["resource"]["attributes"]["service.name"] == "stillhouse-test"
