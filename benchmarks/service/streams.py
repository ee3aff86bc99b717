"""How late clients hear of what happens to running jobs, when many of them follow.

The writer does as supervisors do: for each job one fenced write every 0.8 s, with points that say
when they were written. A lag runs from before that transaction to the arrival at the client. Every
client must have heard every point of its job once before the end.
"""

import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvloop

from app.states import State
from benchmarks.service.curves import claimed
from benchmarks.service.hosts import Host, api, postgres_database, scratch, wait
from benchmarks.service.memory import Memory
from workers.claims import Claim
from workers.ledger import Ledger

CLIENTS = 500
JOBS = 20
EVERY_S = 0.8
KEYS = [f"train/{name}" for name in "abcdefgh"]

Heard = tuple[list[float], int]
"""Lags in seconds, and how many points came."""


def measure(server: str | None, seconds: float) -> list[str]:
    """Rows of the table."""
    rows = []
    with postgres_database(server) as postgres, _sqlite() as sqlite:
        for name, url in (("PostgreSQL", postgres), ("SQLite", sqlite)):
            with api(url) as host:
                rows += _follow(host, name, seconds)
    return rows


@contextmanager
def _sqlite() -> Iterator[str]:
    with scratch() as folder:
        yield f"sqlite:///{folder / 'stillhouse.db'}"


def _follow(host: Host, name: str, seconds: float) -> list[str]:
    ledger = Ledger(host.database, lease_s=60, max_attempts=3)
    claims = [claimed(host.database, ledger) for _ in range(JOBS)]
    (process,) = host.api
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        following = pool.submit(_clients, host.url, [claim.job_id for claim in claims])
        wait(lambda: _streams(host.url) == CLIENTS or None)
        before = process.cpu_times()
        with Memory(process) as memory:
            written = _write(ledger, claims, seconds)
            after = process.cpu_times()
            for claim in claims:
                ledger.finish(claim, State.SUCCEEDED, reason="finished")
            heard = following.result(60)
    lags = [lag for some, _ in heard for lag in some]
    missed = sum(written - points for _, points in heard)
    cuts = [1000 * cut for cut in statistics.quantiles(lags, n=100, method="inclusive")]
    busy = (after.user + after.system - before.user - before.system) / seconds
    return [
        f"| {CLIENTS} streams of {JOBS} running jobs, {seconds:g} s, {name}: lag p50 / p99 / max | "
        f"{cuts[49]:.0f} / {cuts[98]:.0f} / {1000 * max(lags):.0f} ms |",
        f"| points missed, of {written * CLIENTS:,} | {missed:,} |",
        f"| the API process | {busy:.0%} of a core, memory +{memory.growth_mib:.1f} MiB |",
    ]


def _write(ledger: Ledger, claims: Sequence[Claim], seconds: float) -> int:
    """Points of each job."""
    began = time.monotonic()
    rounds = int(seconds / EVERY_S)
    for number in range(rounds):
        for place, claim in enumerate(claims):
            due = began + EVERY_S * (number + place / len(claims))
            time.sleep(max(due - time.monotonic(), 0))
            points = [(key, number + 1, 0.1, time.time(), 0.5) for key in KEYS]
            progress = {**claim.progress, "step": number + 1}
            ledger.write(claim, progress=progress, phase="training", points=points)
    return rounds * len(KEYS)


def _streams(url: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("stillhouse_streams "))


def _clients(url: str, jobs: Sequence[str]) -> list[Heard]:
    return uvloop.run(_all_of_them(url, jobs))


async def _all_of_them(url: str, jobs: Sequence[str]) -> list[Heard]:
    place = urlsplit(url)
    loop = asyncio.get_running_loop()
    clients = [
        (
            await loop.create_connection(
                lambda job=jobs[number % len(jobs)]: _Client(job), place.hostname, place.port
            )
        )[1]
        for number in range(CLIENTS)
    ]
    return [await client.end for client in clients]


class _Client(asyncio.Protocol):
    """Looks at what comes only as far as it must: it shares its cores with the service."""

    def __init__(self, job: str) -> None:
        self._request = f"GET /jobs/{job}/stream HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        self._rest = b""
        self._lags: list[float] = []
        self._points = 0
        self.end: asyncio.Future[Heard] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        at = time.time()
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            _, found, rest = event.partition(b"event: metrics\ndata: ")
            if found:
                series = json.loads(rest.partition(b"\n")[0])["series"]
                self._lags += [at - moment for one in series for moment in one["time"]]
                self._points += sum(len(one["step"]) for one in series)
            elif b"event: done" in event:
                self._transport.close()
                self.end.set_result((self._lags, self._points))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.end.done():
            self.end.set_exception(exc or ConnectionError("cut"))
