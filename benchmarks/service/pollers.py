"""What many clients that poll a running job cost its training.

The API, its workers, its database's sessions and the clients run on one core, the trainer on
another one with a single thread. Windows without the clients, with them, and with a process that
only keeps the first core as busy as they do take turns in one training, whose speed is told by its
own curve: steps over the trainer's clock. What that process costs, the machine costs: cores share
caches, clocks and the host.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit

import psutil
import sqlalchemy as sa

from benchmarks.service.hosts import Host, postgres_database, service, wait
from benchmarks.service.jobs import digits, post, supervised
from benchmarks.service.load import Plan, Result, drive

CLIENTS = 500
EVERY_S = 2.0
WINDOW_S = 10.0
API_CORE, TRAINER_CORE = 0, 1

Load = Literal["none", "clients", "foreign"]
Window = tuple[float, float, Load]
"""Seconds since 1970 of its start and end, and what was on the first core."""

SPIN = """
import sys, time
share = float(sys.argv[1])
while True:
    began = time.perf_counter()
    while time.perf_counter() - began < share * 0.01:
        pass
    time.sleep((1 - share) * 0.01)
"""


def measure(server: str | None, rounds: int) -> list[str]:
    """Rows of the table; a round is a window of each kind."""
    os.sched_setaffinity(0, {API_CORE})  # whoever is started from here, too
    with (
        postgres_database(server) as database_url,
        service(DATABASE_URL=database_url, THREADS="1") as host,
        host.client() as client,
    ):
        body = supervised(digits(client), 800, 10_000)
        body["training"]["batch_size"] = 16  # the most steps that 10,000 epochs have
        job = post(client, "/jobs", body)["id"]
        wait(lambda: client.get(f"/jobs/{job}").json()["progress"]["step"] or None)
        command = ["taskset", "-a", "-p", "-c", str(TRAINER_CORE), str(_busiest(host).pid)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        time.sleep(WINDOW_S)
        windows, results = _windows(host, job, rounds)
        path = f"/jobs/{job}/metrics?keys=train/loss&max_points=10000&x="
        times, steps = (client.get(path + x).json()["series"][0]["x"] for x in ("time", "step"))
        client.post(f"/jobs/{job}/cancel")
    return _rows(windows, results, list(zip(times, steps, strict=False)))


def _windows(host: Host, job: str, rounds: int) -> tuple[list[Window], list[Result]]:
    place = urlsplit(host.url)
    request = f"GET /jobs/{job} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
    plan = Plan(
        str(place.hostname),
        place.port or 80,
        [request],
        200,
        connections=CLIENTS,
        seconds=WINDOW_S,
        every=EVERY_S,
    )
    windows: list[Window] = []
    results = []
    for _ in range(rounds):
        _pin_sessions(host)
        windows.append(_window("none"))
        idle, began = psutil.cpu_times(percpu=True)[API_CORE].idle, time.time()
        results.append(drive(plan))
        windows.append((began + 1.0, time.time() - 1.0, "clients"))
        spent = psutil.cpu_times(percpu=True)[API_CORE].idle - idle
        busy = max(1 - spent / (time.time() - began), 0.0)
        with _spinning(busy):
            windows.append(_window("foreign"))
    return windows, results


def _window(load: Load) -> Window:
    began = time.time()
    time.sleep(WINDOW_S)
    return began + 1.0, time.time() - 1.0, load


@contextmanager
def _spinning(share: float) -> Iterator[None]:
    """A process on the first core, which takes this share of it."""
    process = subprocess.Popen([sys.executable, "-c", SPIN, str(share)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _rows(
    windows: list[Window], results: list[Result], steps: list[tuple[float, float]]
) -> list[str]:
    rates: dict[Load, list[float]] = {"none": [], "clients": [], "foreign": []}
    for start, end, load in windows:
        inside = [(at, step) for at, step in steps if start <= at <= end]
        (t0, s0), (t1, s1) = inside[0], inside[-1]
        rates[load].append((s1 - s0) / (t1 - t0))
    alone, polled, foreign = (statistics.median(rates[it]) for it in rates)
    spread = (max(rates["none"]) - min(rates["none"])) / alone
    asked = Result([one for result in results for one in result.times])
    errors = sum(result.errors for result in results)
    return [
        f"| training alone, median of {len(rates['none'])} windows | {alone:,.1f} steps/s "
        f"(spread {spread:.1%}) |",
        f"| with {CLIENTS} clients polling it every {EVERY_S:g} s | {polled:,.1f} steps/s: "
        f"{1 - polled / alone:.1%} slower |",
        f"| with a foreign process that keeps their core as busy | {foreign:,.1f} steps/s: "
        f"{1 - foreign / alone:.1%} slower |",
        f"| the clients beyond that | {1 - polled / foreign:.1%} slower |",
        f"| their polls, p50 / p99 | {asked.quantile(0.5):.1f} / {asked.quantile(0.99):.1f} ms, "
        f"{errors} errors of {len(asked.times) + errors:,} |",
    ]


def _busiest(host: Host) -> psutil.Process:
    """The trainer, among all that the service started."""
    head = host.api[0].parent()
    assert head is not None
    family = head.children(recursive=True)
    before = {one.pid: _cpu(one) for one in family}
    time.sleep(2)
    return max(family, key=lambda one: _cpu(one) - before[one.pid])


def _cpu(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _pin_sessions(host: Host) -> None:
    """The database server's processes that work for us, where they are ours to move."""
    statement = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    with host.database.reading() as session:
        for pid in session.scalars(sa.text(statement)):
            with suppress(OSError):
                os.sched_setaffinity(pid, {API_CORE})
