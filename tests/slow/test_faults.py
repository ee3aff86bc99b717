"""One thing after another breaks under a real training, on servers of the tests' own: PostgreSQL,
Valkey, an S3 store, the disk, the API, a worker. The job ends in the same student, byte for byte.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
import redis

from app.queue import TRAIN_QUEUES
from app.settings import MIB, Settings
from app.storage import open_storage
from benchmarks.chaos.servers import Broker, Postgres
from tests.acceptance.conftest import Service, mlp, serve
from tests.processes import own_postgres
from tests.s3 import BUCKET, S3

pytestmark = pytest.mark.slow

LEASE_S = 4.0
DISK_MIB = 512


@dataclass
class House:
    """The service and all that it leans on."""

    service: Service
    postgres: Postgres
    broker: Broker
    s3: S3
    environment: dict[str, str]
    small_disk: bool
    dataset: str = ""
    undisturbed: str = ""

    def submit(self, **fields: Any) -> str:
        """A training of several seconds; the job's id."""
        training = {"epochs": 400, "batch_size": 64, "optimizer": {"name": "adam"}}
        body = {
            "dataset": self.dataset,
            "student": {"network": mlp(32)},
            "method": {"name": "supervised"},
            "training": training,
            **fields,
        }
        return str(self.service.post("/jobs", body)["id"])

    def under_way(self) -> str:
        """One that has saved something already."""
        job = self.submit()
        self.service.until(f"/jobs/{job}", lambda it: it["progress"]["fraction"] > 0.15, 60)
        self.service.until(f"/jobs/{job}/artifacts", lambda it: it["data"], 20)
        return job

    def survives(self, job: str, *, attempts: int | None = None) -> None:
        """It ends as if nothing had been, after at most so many attempts."""
        ended = patiently(lambda: self.service.ended(job, 120))
        assert ended["state"] == "succeeded", ended["error"]
        assert attempts is None or ended["attempt"] <= attempts, self.events(job)
        assert self.student(job) == self.undisturbed

    def student(self, job: str) -> str:
        return str(self.service.http.head(f"/jobs/{job}/student").headers["etag"])

    def events(self, job: str) -> list[str]:
        return [one["reason"] for one in self.service.get(f"/jobs/{job}/events")["data"]][::-1]

    def spoiled(self, job: str) -> int:
        """Attempts that counted against the job since it last came further."""
        with psycopg.connect(self.postgres.url) as connection:
            row = connection.execute("SELECT fruitless FROM jobs WHERE id = %s", (job,)).fetchone()
        assert row is not None
        return int(row[0])

    def processes(self, *words: str) -> list[psutil.Process]:
        found = []
        for child in psutil.Process(self.service.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if all(word in " ".join(child.cmdline()) for word in words):
                    found.append(child)
        return found


def patiently(ask: Callable[[], Any], seconds: float = 60) -> Any:
    """Asked again while the API or what it needs is away."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except (httpx.TransportError, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system that a test can fill, where mounting one is allowed."""
    options = ["-t", "tmpfs", "-o", f"size={DISK_MIB}m", "stillhouse", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("home")
    broker = Broker(tmp_path_factory.mktemp("broker"))
    s3 = S3(tmp_path_factory.mktemp("s3"))
    environment = {
        **s3.environment,
        "STILLHOUSE_STORAGE_URL": f"s3://{BUCKET}/house",
        "STILLHOUSE_LEASE_S": str(LEASE_S),
        "STILLHOUSE_MIN_FREE_BYTES": str(16 * MIB),
        "STILLHOUSE_DISK_FULL_PAUSE_S": "1",
    }
    with own_postgres() as postgres, small_disk(home) as small:
        running = serve(home, database=postgres.url, broker=broker.url, environment=environment)
        service = next(running)
        house = House(service, postgres, broker, s3, environment, small)
        source = {"kind": "builtin", "name": "digits"}
        house.dataset = service.post("/datasets", {"name": "digits", "source": source})["id"]
        assert service.checked(f"/datasets/{house.dataset}")["state"] == "ready"
        job = house.submit()
        assert service.ended(job)["state"] == "succeeded"
        house.undisturbed = house.student(job)
        yield house
        for _ in running:  # ends it
            pass
    broker.close()
    s3.kill()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgres_restarts(house: House, mode: str) -> None:
    job = house.under_way()
    house.postgres.restart(mode)
    house.survives(job, attempts=2)
    assert house.spoiled(job) == 0


def test_a_store_that_is_killed(house: House) -> None:
    job = house.under_way()
    house.s3.kill()
    time.sleep(5)  # several checkpoints long
    assert house.service.http.get("/readyz").status_code == 503
    house.s3.start()
    house.survives(job)  # after as many attempts as it took, none of which counts
    assert house.spoiled(job) == 0, house.events(job)


def test_a_store_that_hangs(house: House) -> None:
    job = house.under_way()
    house.s3.hang()
    time.sleep(1.5 * LEASE_S)
    assert house.service.get(f"/jobs/{job}")["state"] == "running", "its lease is kept meanwhile"
    house.s3.go_on()
    house.survives(job, attempts=2)
    assert house.spoiled(job) == 0


def test_a_broker_that_forgets_everything(house: House) -> None:
    """What was queued is rung for again, by whoever sweeps."""
    first = house.under_way()
    second = house.submit()
    with redis.Redis.from_url(house.broker.url) as client:
        client.flushall()
    house.broker.kill()
    third = house.submit()  # accepted: the row is what counts
    house.broker.start()
    for job in (first, second, third):
        house.survives(job, attempts=1)


def test_a_broker_that_hangs(house: House) -> None:
    job = house.under_way()
    house.broker.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    queued = house.submit()
    assert time.monotonic() - began < 2, "nobody waits for the bell"
    time.sleep(8)  # longer than the socket's timeout
    house.broker.process.send_signal(signal.SIGCONT)
    house.survives(job, attempts=1)
    house.survives(queued, attempts=1)


def test_a_worker_that_slept_through_its_lease(house: House) -> None:
    """It wakes up in the belief that the job is its own: its trainer dies, its writes are refused,
    and the attempt of another worker stands."""
    first = [one for one in house.processes("celery", "train.high") if not celery_above(one)]
    assert len(first) == 1
    job = house.under_way()
    trainers = busy_below(first[0])
    assert trainers
    with second_worker(house):
        first[0].suspend()
        house.service.until(f"/jobs/{job}", lambda it: it["attempt"] == 2, 8 * LEASE_S)
        first[0].resume()
        _, alive = psutil.wait_procs(trainers, timeout=LEASE_S)
        assert not alive, "the old attempt's trainer goes on"
        house.survives(job, attempts=2)
    log = (house.service.home / "logs" / "train.log").read_text()
    assert f"{job}: attempt 1 lost its hold" in log
    told = house.events(job)
    assert "its worker was not heard of in time" in told
    assert sum("claimed by second" in one for one in told) == 1


def test_an_api_that_is_killed_in_mid_upload(house: House) -> None:
    """No half file is seen, and what it left is removed."""
    spool = house.service.home / "spool"
    stop = threading.Event()

    def half() -> Iterator[bytes]:
        for _ in range(8):
            yield b"x" * MIB
        stop.wait(30)
        yield b"never sent"

    def send() -> None:
        with suppress(httpx.TransportError):
            httpx.post(f"{house.service.http.base_url}/files", content=half(), timeout=60)

    objects = house.s3.keys()
    client = threading.Thread(target=send)
    client.start()
    deadline = time.monotonic() + 20
    while not (left := [one for one in spool.glob("*") if one.stat().st_size >= 4 * MIB]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for process in house.processes("app.asgi"):
        process.kill()
    stop.set()
    client.join()
    assert patiently(lambda: house.service.get("/healthz")) == {"status": "ok"}
    with psycopg.connect(house.postgres.url) as connection:
        assert connection.execute("SELECT count(*) FROM files").fetchone() == (0,)
    assert house.s3.keys() == objects
    with pytest.MonkeyPatch.context() as patch:
        for name, value in house.s3.environment.items():
            patch.setenv(name, value)
        storage = open_storage(
            Settings(home=house.service.home, storage_url=f"s3://{BUCKET}/house")
        )
    for path in left:
        os.utime(path, (time.time() - 100,) * 2)
    storage.tidy(3600)
    assert list(spool.glob("*")) == []


def test_a_full_disk(house: House) -> None:
    if not house.small_disk:
        pytest.skip("mounting a small file system is not allowed here")
    job = house.under_way()
    ballast = house.service.home / "ballast"
    with ballast.open("wb") as file:
        with suppress(OSError):
            while True:
                file.write(b"\0" * MIB)
                file.flush()
        answer = house.service.http.post("/files", content=b"x" * 4 * MIB)
        assert (answer.status_code, answer.json()["code"]) == (507, "insufficient_storage")
        waiting = house.submit()
        house.service.until(f"/jobs/{job}", lambda it: it["state"] == "queued", 30)
        time.sleep(3)
        assert house.service.get(f"/jobs/{waiting}")["attempt"] == 0, "none is spent"
    ballast.unlink()
    house.survives(job)
    house.survives(waiting, attempts=1)
    assert house.spoiled(job) == 0, house.events(job)


@contextmanager
def second_worker(house: House) -> Iterator[None]:
    """Another machine's worker, with a data directory of its own."""
    home = house.service.home.with_name("second-home")
    command = [sys.executable, "-m", "celery", "-A", "workers.celery_app", "worker"]
    command += ["-Q", ",".join(TRAIN_QUEUES.values()), "-n", "second@%h", "--pool", "threads"]
    command += ["--concurrency", "1", "--loglevel", "INFO"]
    environment = {
        **os.environ,
        **house.environment,
        "STILLHOUSE_HOME": str(home),
        "STILLHOUSE_DATABASE_URL": house.postgres.url,
        "STILLHOUSE_BROKER_URL": house.broker.url,
        "STILLHOUSE_CHECKPOINT_EVERY_S": "0.5",
        "STILLHOUSE_WORKERS": "1",
    }
    home.mkdir()
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def celery_above(process: psutil.Process) -> bool:
    parent = process.parent()
    return parent is not None and "celery" in " ".join(parent.cmdline())


def busy_below(process: psutil.Process) -> list[psutil.Process]:
    """The trainers that are at work: those that have used the processor for a while."""
    before = {one: sum(one.cpu_times()[:2]) for one in process.children(recursive=True)}
    time.sleep(0.5)
    return [
        one
        for one, used in before.items()
        if one.is_running() and sum(one.cpu_times()[:2]) - used > 0.1
    ]
