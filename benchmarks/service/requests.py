"""POST /jobs and GET /jobs/{id}: how many a second, and how long at half of that."""

import json
import statistics
from collections.abc import Sequence
from urllib.parse import urlsplit

from app.db import Database
from app.ids import new_id
from app.tables import DEFAULT_PROJECT, Dataset, Teacher
from benchmarks.service.hosts import Host, api, postgres_database
from benchmarks.service.load import Plan, Result, drive

NETWORK = {"family": "mlp", "inputs": 784, "classes": 10}
FACTS = {
    "rows": {"train": 54_000, "validation": 6_000, "test": 10_000},
    "classes": 10,
    "class_names": None,
    "feature_shape": [28, 28],
    "feature_dtype": "uint8",
    "class_balance": None,
    "preprocess": {"scale": 1 / 255, "mean": [0.13], "std": [0.3]},
    "labelled": True,
    "cut": ["validation"],
    "teacher_outputs": None,
    "sha256": "0" * 64,
    "bytes": 54_880_000,
    "preview": [],
}
GOALS = {"POST /jobs": 300, "GET /jobs/{id}": 800}


def job_body(database: Database) -> bytes:
    """Of a usual job, over a teacher and a dataset that are ready."""
    own = {"project_id": DEFAULT_PROJECT}
    teacher = Teacher(
        id=new_id("tch"),
        name="teacher",
        state="ready",
        network={**NETWORK, "hidden": [1200, 1200]},
        **own,
    )
    dataset = Dataset(id=new_id("dst"), name="mnist", state="ready", spec={}, facts=FACTS, **own)
    body = {
        "teachers": [teacher.id],
        "dataset": dataset.id,
        "student": {"network": {**NETWORK, "hidden": [800, 800]}},
        "method": {"name": "kd", "temperature": 20.0, "alpha": 0.9},
        "labels": {"team": "vision"},
    }
    with database.transaction() as session:
        session.add_all([teacher, dataset])
    return json.dumps(body).encode()


def post(body: bytes) -> bytes:
    """With an idempotency key, new each time, as a careful client sends it."""
    head = b"POST /jobs HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    head += b"Idempotency-Key: %%UNIQUE%%\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()


def measure(server: str | None, rounds: int, processes: int, seconds: float) -> list[str]:
    """Rows of the table."""
    rows = []
    with postgres_database(server) as database_url, api(database_url, processes=processes) as host:
        posts = [post(job_body(host.database))]
        with host.client() as client:
            body = posts[0].partition(b"\r\n\r\n")[2]
            jobs = [client.post("/jobs", content=body, headers=JSON).json() for _ in range(100)]
        gets = [get(f"/jobs/{job['id']}") for job in jobs]
        for name, asked, expected in (
            ("POST /jobs", posts, 202),
            ("GET /jobs/{id}", gets, 200),
        ):
            rows += _rates(host, name, asked, expected, rounds, seconds)
    return rows


JSON = {"Content-Type": "application/json"}


def _rates(
    host: Host, name: str, asked: Sequence[bytes], expected: int, rounds: int, seconds: float
) -> list[str]:
    place = urlsplit(host.url)
    assert place.hostname is not None
    assert place.port is not None

    def run(seed: int, length: float, rate: float | None) -> Result:
        plan = Plan(
            place.hostname, place.port, asked, expected, seconds=length, rate=rate, seed=seed
        )
        return drive(plan)

    run(0, 2.0, None)  # first use of everything
    before = host.api_cpu_s()
    closed = [run(1 + number, seconds, None) for number in range(rounds)]
    spent = host.api_cpu_s() - before
    rate = statistics.median(result.rate for result in closed)
    half = min(rate, GOALS[name]) / 2
    opened = [run(100 + number, seconds, half) for number in range(rounds)]
    errors = sum(result.errors for result in (*closed, *opened))
    p50, p99 = (
        statistics.median(result.quantile(share) for result in opened) for share in (0.5, 0.99)
    )
    each = 1000 * spent / sum(len(result.times) for result in closed)
    spread = f"{min(r.rate for r in closed):,.0f} to {max(r.rate for r in closed):,.0f}"
    return [
        f"| {name}, 32 connections | {rate:,.0f}/s ({spread}), {errors} errors |",
        f"| {name}, the API's processor time for one | {each:.2f} ms |",
        f"| {name}, {half:,.0f}/s offered, p50 / p99 | {p50:.1f} / {p99:.1f} ms |",
    ]
