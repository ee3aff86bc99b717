"""What many clients that poll a running job cost its training.

The API, its workers, its database's sessions and the clients run on one core, the trainer on
another one with a single thread. Windows with and without the clients take turns in one training,
whose speed is told by its own curve: steps over the trainer's clock.
"""

import os
import statistics
import subprocess
import time
from contextlib import suppress
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

Window = tuple[float, float, bool]
"""Seconds since 1970 of its start and end, and whether clients polled."""


def measure(server: str | None, rounds: int) -> list[str]:
    """Rows of the table; a round is a window without and one with clients."""
    os.sched_setaffinity(0, {API_CORE})  # whoever is started from here, too
    with (
        postgres_database(server) as database_url,
        service(DATABASE_URL=database_url, THREADS="1") as host,
        host.client() as client,
    ):
        job = post(client, "/jobs", supervised(digits(client), 800, 10_000))["id"]
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
    windows: list[Window] = []
    results = []
    for number in range(2 * rounds):
        _pin_sessions(host)
        polled = number % 2 == 1
        began = time.time()
        if polled:
            plan = Plan(
                str(place.hostname),
                place.port or 80,
                [request],
                200,
                connections=CLIENTS,
                seconds=WINDOW_S,
                every=EVERY_S,
            )
            results.append(drive(plan))
        else:
            time.sleep(WINDOW_S)
        windows.append((began + 1.0, time.time() - 1.0, polled))
    return windows, results


def _rows(
    windows: list[Window], results: list[Result], steps: list[tuple[float, float]]
) -> list[str]:
    rates: dict[bool, list[float]] = {True: [], False: []}
    for start, end, polled in windows:
        inside = [(at, step) for at, step in steps if start <= at <= end]
        (t0, s0), (t1, s1) = inside[0], inside[-1]
        rates[polled].append((s1 - s0) / (t1 - t0))
    without, with_ = statistics.median(rates[False]), statistics.median(rates[True])
    spread = (max(rates[False]) - min(rates[False])) / without
    asked = Result([one for result in results for one in result.times])
    errors = sum(result.errors for result in results)
    return [
        f"| training alone, median of {len(rates[False])} windows | {without:,.1f} steps/s "
        f"(spread {spread:.1%}) |",
        f"| with {CLIENTS} clients polling it every {EVERY_S:g} s | {with_:,.1f} steps/s: "
        f"{1 - with_ / without:+.1%} slower |",
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
