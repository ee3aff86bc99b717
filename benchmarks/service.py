"""The service under load, on this machine alone: bytes in and out, memory, and time to a start.

    python -m benchmarks.service [--gib 2] [--starts 20]

Everything runs on the embedded default with its data directory on a tmpfs where there is one.
"""

import argparse
import hashlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

MIB = 1024 * 1024
BLOCK = 4 * MIB


@contextmanager
def service() -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """A served home of its own; yields a client and the API's process."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as home:
        environment = {
            **os.environ,
            "STILLHOUSE_HOME": home,
            "STILLHOUSE_PORT": "0",
            "STILLHOUSE_DATABASE_URL": "",
            "STILLHOUSE_BROKER_URL": "",
            "STILLHOUSE_STORAGE_URL": "",
        }
        process = subprocess.Popen([sys.executable, "-m", "app.serve"], env=environment)
        try:
            told = Path(home) / "serve.json"
            url = _wait(lambda: json.loads(told.read_text())["url"] if told.exists() else None)
            client = httpx.Client(base_url=url, timeout=60)
            _wait(lambda: client.get("/readyz").is_success or None)
            api = next(
                child
                for child in psutil.Process(process.pid).children(recursive=True)
                if any("app.asgi" in word for word in child.cmdline())
            )
            yield client, api
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _wait(probe: Any, seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if (value := probe()) is not None:
                return value
        except (httpx.TransportError, OSError, ValueError):
            pass
        time.sleep(0.05)
    raise TimeoutError("the service did not come up")


class Memory:
    """The largest resident size of a process, sampled a hundred times a second."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self.start = self.peak = process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._over.wait(0.01):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def growth_mib(self) -> float:
        return (self.peak - self.start) / MIB


def upload(client: httpx.Client, size: int, block: bytes) -> tuple[float, str]:
    """(seconds, file id) of one raw upload of `size` bytes."""
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port)
    began = time.perf_counter()
    connection.request(
        "POST",
        "/files",
        body=(block for _ in range(size // len(block))),
        headers={
            "Content-Length": str(size),
            "Content-Type": "application/octet-stream",
            "X-Filename": "big.bin",
        },
        encode_chunked=False,
    )
    answer = connection.getresponse()
    document = json.loads(answer.read())
    seconds = time.perf_counter() - began
    assert answer.status == 201, document
    connection.close()
    return seconds, str(document["id"])


def download(client: httpx.Client, file: str, expected: str | None) -> float:
    """Seconds of one download; the hash is compared in a run of its own, when given."""
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port)
    digest, buffer, size = hashlib.sha256(), bytearray(BLOCK), 0
    began = time.perf_counter()
    connection.request("GET", f"/files/{file}/content")
    answer = connection.getresponse()
    while count := answer.readinto(buffer):
        size += count
        if expected:
            digest.update(memoryview(buffer)[:count])
    seconds = time.perf_counter() - began
    assert answer.status == 200
    assert expected is None or digest.hexdigest() == expected
    connection.close()
    return seconds


def bytes_in_and_out(client: httpx.Client, api: psutil.Process, gib: float) -> list[str]:
    """Rows of the table: upload and download rates and memory growth."""
    size = int(gib * 1024) * MIB
    upload(client, 64 * MIB, os.urandom(BLOCK))  # first use of everything
    rows = []
    ups, downs = [], []
    with Memory(api) as memory:
        for _ in range(3):
            block = os.urandom(BLOCK)
            digest = hashlib.sha256()
            for _ in range(size // BLOCK):
                digest.update(block)
            seconds, file = upload(client, size, block)
            ups.append(size / MIB / seconds)
            downs.append(size / MIB / download(client, file, None))
            download(client, file, digest.hexdigest())
    rows.append(f"| upload of {gib:g} GiB | {statistics.median(ups):,.0f} MiB/s |")
    rows.append(f"| download of {gib:g} GiB | {statistics.median(downs):,.0f} MiB/s |")
    rows.append(f"| growth of the API's memory meanwhile | {memory.growth_mib:.1f} MiB |")
    return rows


def post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.is_success, answer.text
    return dict(answer.json())


def settled(client: httpx.Client, path: str) -> dict[str, Any]:
    """The resource once it is no longer checking, queued or running."""
    while True:
        resource = client.get(path).json()
        if resource.get("is_terminal") or resource["state"] in ("ready", "rejected"):
            assert resource["state"] in ("ready", "succeeded"), resource
            return dict(resource)
        time.sleep(0.1)


def time_to_first_step(client: httpx.Client, starts: int) -> list[str]:
    """From the POST to a progress that counts a step, as a polling client sees it."""
    source = {"kind": "builtin", "name": "digits"}
    dataset = post(client, "/datasets", {"name": "digits", "source": source})["id"]
    settled(client, f"/datasets/{dataset}")
    network = {"family": "mlp", "inputs": 64, "hidden": [64], "classes": 10}
    teacher_job = post(
        client,
        "/jobs",
        {
            "dataset": dataset,
            "student": {"network": network},
            "method": {"name": "supervised"},
            "training": {"epochs": 2},
        },
    )["id"]
    settled(client, f"/jobs/{teacher_job}")
    teacher = post(client, "/teachers", {"name": "t", "job": teacher_job})["id"]
    settled(client, f"/teachers/{teacher}")
    times = []
    for seed in range(starts + 1):
        time.sleep(8)  # until the next trainer is warm
        body = {
            "teachers": [teacher],
            "dataset": dataset,
            "student": {"network": {**network, "hidden": [16]}},
            "training": {"epochs": 300, "seed": seed},
            "baseline": None,
        }
        began = time.perf_counter()
        job = post(client, "/jobs", body)["id"]
        while client.get(f"/jobs/{job}").json()["progress"]["step"] == 0:
            time.sleep(0.002)
        times.append(1000 * (time.perf_counter() - began))
        settled(client, f"/jobs/{job}")
    times = times[1:]  # the first one filled the cache of soft targets
    return [
        f"| POST /jobs to the first step, median of {starts} | {statistics.median(times):.0f} ms |",
        f"| the slowest of them | {max(times):.0f} ms |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--starts", type=int, default=20)
    arguments = parser.parse_args()
    with service() as (client, api):
        rows = bytes_in_and_out(client, api, arguments.gib) if arguments.gib else []
        rows += time_to_first_step(client, arguments.starts)
    print("\n| what | measured |\n|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
