"""Metrics of a long job: writing them as a supervisor does, and reading them as a chart does."""

import math
import statistics
import time
from collections.abc import Iterator

import httpx
import psutil

from app.db import Database
from app.ids import new_id
from app.states import State
from app.tables import DEFAULT_PROJECT, Dataset, Job
from benchmarks.service.hosts import api, postgres_database
from benchmarks.service.memory import Memory
from workers.claims import Claim
from workers.ledger import Ledger, Point

POINTS = 1_000_000
READS = 20


def measure(server: str | None, rounds: int) -> list[str]:
    """Rows of the table."""
    rows = []
    with postgres_database(server) as database_url, api(database_url) as host:
        for curves in (1, 10):
            rates = []
            for _ in range(rounds):
                job_id, rate = write_job(host.database, curves)
                rates.append(rate)
            median = statistics.median(rates)
            spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
            rows.append(
                f"| writing {POINTS:,} points of {curves} curve{'s' * (curves > 1)}, fenced, "
                f"rolled up, 10,000 a write | {median:,.0f} rows/s ({spread}) |"
            )
            rows += _read(host.client(), host.api[0], job_id, curves)
    return rows


def write_job(database: Database, curves: int) -> tuple[str, float]:
    """A job of POINTS points, and how many were written a second."""
    ledger = Ledger(database, lease_s=60, max_attempts=3)
    claim = claimed(database, ledger)
    batches = list(_batches(curves))
    began = time.perf_counter()
    for batch in batches:
        ledger.write(claim, progress=claim.progress, phase="training", points=batch)
    seconds = time.perf_counter() - began
    ledger.finish(claim, State.SUCCEEDED, reason="finished")
    return claim.job_id, POINTS / seconds


def claimed(database: Database, ledger: Ledger) -> Claim:
    """A job that runs as far as the rows tell."""
    dataset = Dataset(id=new_id("dst"), name="d", state="ready", spec={}, facts={})
    job = Job(id=new_id("job"), name="long", progress={}, labels={}, spec={})
    job.spec = {"teachers": [], "dataset": dataset.id, "student": {}, "priority": "normal"}
    dataset.project_id = job.project_id = DEFAULT_PROJECT
    with database.transaction() as session:
        session.add(dataset)
        session.flush()
        session.add(job)
    claim = ledger.claim(job.id, "bench")
    assert claim is not None
    return claim


def _batches(curves: int, size: int = 10_000) -> Iterator[list[Point]]:
    for start in range(0, POINTS, size):
        yield [
            (f"train/{n % curves}", n // curves, n / 1e5, 1.7e9 + n / 1e3, 1 / (1 + n) + _wave(n))
            for n in range(start, start + size)
        ]


def _wave(number: int) -> float:
    return 0.1 * math.sin(number * 0.7)


def _read(client: httpx.Client, process: psutil.Process, job_id: str, curves: int) -> list[str]:
    rows = []
    for aggregate in ("minmax", "mean"):
        path = f"/jobs/{job_id}/metrics?max_points=1000&agg={aggregate}"
        _asked(client, path, curves)  # first use of everything
        with Memory(process) as memory:
            times = [_asked(client, path, curves) for _ in range(READS)]
        rows.append(
            f"| reading them, max_points=1000, agg={aggregate}, median / slowest of {READS} | "
            f"{1000 * statistics.median(times):.0f} / {1000 * max(times):.0f} ms, "
            f"API memory +{memory.growth_mib:.1f} MiB |"
        )
    return rows


def _asked(client: httpx.Client, path: str, curves: int) -> float:
    """Seconds."""
    began = time.perf_counter()
    answer = client.get(path)
    seconds = time.perf_counter() - began
    series = answer.json()["series"]
    assert len(series) == curves
    for one in series:
        assert (len(one["x"]), one["count"]) == (1000, POINTS // curves)
        assert (one["x"][0], one["x"][-1]) == (0, POINTS // curves - 1)
    return seconds
