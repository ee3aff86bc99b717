"""Time from the POST of a job to its first training step, on a warm worker."""

import statistics
import time

import httpx

from benchmarks.service.hosts import service
from benchmarks.service.jobs import NETWORK, digits, post, settled, supervised

WARM_S = 8.0
"""Until the next trainer waits again."""


def measure(starts: int) -> list[str]:
    """Rows of the table."""
    with service() as host, host.client() as client:
        times = _starts(client, starts)
    return [
        f"| POST /jobs to the first step, median of {starts} | {statistics.median(times):.0f} ms |",
        f"| the slowest of them | {max(times):.0f} ms |",
    ]


def _starts(client: httpx.Client, starts: int) -> list[float]:
    """Milliseconds, as a polling client sees them."""
    dataset = digits(client)
    made = post(client, "/jobs", supervised(dataset, 64, 2))["id"]
    settled(client, f"/jobs/{made}")
    teacher = post(client, "/teachers", {"name": "t", "job": made})["id"]
    settled(client, f"/teachers/{teacher}")
    times = []
    for seed in range(starts + 1):
        time.sleep(WARM_S)
        body = {
            "teachers": [teacher],
            "dataset": dataset,
            "student": {"network": {**NETWORK, "hidden": [16]}},
            "training": {"epochs": 300, "seed": seed},
            "baseline": None,
        }
        began = time.perf_counter()
        job = post(client, "/jobs", body)["id"]
        while client.get(f"/jobs/{job}").json()["progress"]["step"] == 0:
            time.sleep(0.002)
        times.append(1000 * (time.perf_counter() - began))
        settled(client, f"/jobs/{job}")
    return times[1:]  # the first one filled the cache of soft targets
