"""Real trainings on real processes that are killed, stopped and cut off, and then an audit.

    python -m benchmarks.chaos [--jobs 40] [--seed 0] [--database URL --broker URL]

A handful of different jobs is first run undisturbed. Then many of them are submitted while a seeded
injector breaks something every few seconds, and at the end the database and every student are
compared with the undisturbed ones. Without URLs it is the embedded default that suffers. Exits 1
when a job was lost, accepted twice, or ended in another student.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis
from sqlalchemy import Integer, String, column, func, select, table

from app.db import Database
from app.queue import Doorbell
from app.settings import Settings
from app.states import State
from app.tables import Artifact, Job, JobEvent, MetricPoint, MetricSeries

_activity = table("pg_stat_activity", column("pid", Integer), column("datname", String))

LEASE_S = 4.0
PAUSE_S = (1.0, 4.0)
"""Between two faults, drawn evenly."""


@dataclass
class World:
    """The service under test, and ways to hurt it."""

    settings: Settings
    process: subprocess.Popen[bytes]
    http: httpx.Client
    random: random.Random
    database: Database = field(init=False)

    def __post_init__(self) -> None:
        self.database = Database(self.settings.database)

    def processes(self, word: str) -> list[psutil.Process]:
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if word in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def kill(self, word: str) -> None:
        for victim in self.processes(word):
            with suppress(psutil.Error):
                victim.kill()

    def stop_worker(self) -> None:
        """Longer than its lease; afterwards it believes that it still holds its job."""
        victims = self.processes("train.high")
        for victim in victims:
            victim.suspend()
        time.sleep(1.5 * LEASE_S)
        for victim in victims:
            with suppress(psutil.Error):
                victim.resume()

    def flush_broker(self) -> None:
        url = self.settings.broker.replace("redis+socket://", "unix://")
        with suppress(redis.RedisError):
            redis.Redis.from_url(url, socket_timeout=2).flushall()

    def ring_twice(self) -> None:
        """Messages for jobs that need none."""
        with self.database.reading() as session:
            ids = session.scalars(select(Job.id).order_by(func.random()).limit(5)).all()
        bell = Doorbell(self.settings)
        for job_id in ids:
            bell.run_job(job_id)
        bell.close()

    def cut_database(self) -> None:
        """Postgres loses all its connections; SQLite is locked for two seconds."""
        if self.database.engine.dialect.name == "postgresql":
            with suppress(Exception), self.database.transaction() as session:
                session.execute(
                    select(func.pg_terminate_backend(_activity.c.pid)).where(
                        _activity.c.datname == func.current_database(),
                        _activity.c.pid != func.pg_backend_pid(),
                    )
                )
            return
        connection = sqlite3.connect(self.settings.home / "stillhouse.db", timeout=10)
        with suppress(sqlite3.Error):
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(2)
            connection.rollback()
        connection.close()

    def faults(self) -> dict[str, Callable[[], None]]:
        faults: dict[str, Callable[[], None]] = {
            "trainer killed": lambda: self.kill("workers.runner"),
            "training worker killed": lambda: self.kill("train.high"),
            "API killed": lambda: self.kill("app.asgi"),
            "worker stopped beyond its lease": self.stop_worker,
            "broker flushed": self.flush_broker,
            "database cut off": self.cut_database,
            "messages doubled": self.ring_twice,
        }
        if self.processes("valkey-server"):
            faults["broker killed"] = lambda: self.kill("valkey-server")
        return faults


@contextmanager
def world(seed: int, database: str, broker: str) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        environment = {
            **os.environ,
            "STILLHOUSE_HOME": folder,
            "STILLHOUSE_PORT": "0",
            "STILLHOUSE_DATABASE_URL": database,
            "STILLHOUSE_BROKER_URL": broker,
            "STILLHOUSE_LEASE_S": str(LEASE_S),
            "STILLHOUSE_CHECKPOINT_EVERY_S": "0.3",
            # Faults come faster than these short trainings save: none of the jobs is poison.
            "STILLHOUSE_MAX_ATTEMPTS": "100",
        }
        log = (home / "serve.log").open("w")
        process = subprocess.Popen(
            [sys.executable, "-m", "app.serve"], env=environment, stdout=log, stderr=log
        )
        try:
            told = home / "serve.json"
            while not told.exists():
                if process.poll() is not None:
                    raise SystemExit((home / "serve.log").read_text())
                time.sleep(0.1)
            url = json.loads(told.read_text())["url"]
            settings = Settings(
                home=home,
                database_url=database or None,
                broker_url=broker or f"redis+socket://{_socket(home)}",
            )
            with httpx.Client(base_url=url, timeout=10) as http:
                yield World(settings, process, http, random.Random(seed))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            log.close()


def _socket(home: Path) -> Path:
    return next(iter(home.glob("*.sock")), home / "broker.sock")


def insist(act: Callable[[], httpx.Response], seconds: float = 120) -> dict[str, Any]:
    """A request repeated until the service is there to answer it."""
    until = time.monotonic() + seconds
    while True:
        with suppress(httpx.TransportError):
            answer = act()
            if answer.status_code < 500:
                assert answer.is_success, answer.text
                return dict(answer.json())
        if time.monotonic() > until:
            raise TimeoutError("the service did not come back")
        time.sleep(0.2)


def post(world: World, path: str, body: dict[str, Any], key: str) -> dict[str, Any]:
    headers = {"Idempotency-Key": key}
    return insist(lambda: world.http.post(path, json=body, headers=headers))


def settled(world: World, path: str, seconds: float = 600) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while True:
        resource = insist(lambda: world.http.get(path))
        if resource.get("is_terminal") or resource["state"] in ("ready", "rejected"):
            return resource
        if time.monotonic() > until:
            raise TimeoutError(f"{path} is still {resource['state']}")
        time.sleep(0.1)


def mlp(*hidden: int) -> dict[str, Any]:
    return {"family": "mlp", "inputs": 64, "hidden": list(hidden), "classes": 10}


def kinds(world: World) -> list[dict[str, Any]]:
    """Different jobs of a second or two: methods, optimisers, augmentation, baselines."""
    source = {"kind": "builtin", "name": "digits"}
    dataset = post(world, "/datasets", {"name": "digits", "source": source}, "data")["id"]
    settled(world, f"/datasets/{dataset}")
    adam = {"name": "adam", "lr": 0.003}
    made = post(
        world,
        "/jobs",
        {
            "dataset": dataset,
            "student": {"network": mlp(128)},
            "method": {"name": "supervised"},
            "training": {"epochs": 10, "optimizer": adam},
        },
        "teacher",
    )
    settled(world, f"/jobs/{made['id']}")
    teacher = post(world, "/teachers", {"name": "t", "job": made["id"]}, "register")["id"]
    settled(world, f"/teachers/{teacher}")
    common = {"dataset": dataset, "student": {"network": mlp(24)}, "teachers": [teacher]}
    shifted = {"epochs": 60, "optimizer": adam, "augment": [{"name": "shift", "pixels": 1}]}
    return [
        {**common, "training": {"epochs": 150, "optimizer": adam, "seed": 1}, "baseline": None},
        {**common, "training": {"epochs": 60, "seed": 2}},
        {**common, "method": {"name": "logits"}, "training": {**shifted, "seed": 3}},
        {**common, "training": {**shifted, "seed": 4}, "baseline": {"seeds": 2}},
    ]


@dataclass
class Reference:
    """What a kind of job comes to when nobody disturbs it."""

    sha256: str
    curves: dict[str, list[tuple[int, float | None]]]


def result(world: World, job_id: str) -> Reference:
    """The student's hash as downloaded, and every curve but the speed, which no two runs share."""
    answer = world.http.get(f"/jobs/{job_id}/student")
    curves: dict[str, list[tuple[int, float | None]]] = {}
    with world.database.reading() as session:
        rows = session.execute(
            select(MetricSeries.key, MetricPoint.step, MetricPoint.value)
            .join(MetricPoint, MetricPoint.series_id == MetricSeries.id)
            .where(MetricSeries.job_id == job_id)
            .order_by(MetricSeries.key, MetricPoint.step)
        )
        for key, step, value in rows:
            if not key.endswith("samples_per_s"):
                curves.setdefault(key, []).append((step, value))
    return Reference(hashlib.sha256(answer.content).hexdigest(), curves)


class Watch(threading.Thread):
    """Follows all jobs: how long after a fault they go on, and how many steps are trained twice."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self.world = world
        self.over = threading.Event()
        self.fault_at: float | None = None
        self.recoveries: list[float] = []
        self.steps: dict[str, int] = {}
        self.wasted = self.trained = 0

    def run(self) -> None:
        while not self.over.wait(0.05):
            with suppress(Exception):  # the database may be cut off
                self._look()

    def _look(self) -> None:
        with self.world.database.reading() as session:
            rows = session.execute(select(Job.id, Job.progress)).all()
        moved = False
        for job_id, progress in rows:
            step, before = progress["step"], self.steps.get(job_id, 0)
            self.wasted += max(before - step, 0)
            self.trained += max(step - before, 0)
            moved = moved or step > before
            self.steps[job_id] = step
        if moved and self.fault_at is not None:
            self.recoveries.append(time.monotonic() - self.fault_at)
            self.fault_at = None


def torment(world: World, watch: Watch, over: threading.Event) -> Counter[str]:
    """Breaks something every few seconds until all is over."""
    counts: Counter[str] = Counter()
    faults = world.faults()
    while not over.wait(world.random.uniform(*PAUSE_S)):
        name = world.random.choice(sorted(faults))
        if watch.fault_at is None:
            watch.fault_at = time.monotonic()
        faults[name]()
        counts[name] += 1
    return counts


def audit(world: World, jobs: dict[str, int], references: list[Reference]) -> dict[str, int]:
    """What went wrong, counted."""
    found = Counter(lost=0, accepted_twice=0, stale=0, students=0, curves=0)
    with world.database.reading() as session:
        states = dict(
            session.execute(select(Job.id, Job.state).where(Job.name == "chaos")).all()  # type: ignore[arg-type]
        )
        ends = dict(
            session.execute(
                select(JobEvent.job_id, func.count())
                .where(JobEvent.to_state == State.SUCCEEDED)
                .group_by(JobEvent.job_id)
            ).all()  # type: ignore[arg-type]
        )
        stale = session.scalar(
            select(func.count())
            .select_from(Artifact)
            .join(Job, Job.id == Artifact.job_id)
            .where(Artifact.kind == "report", Artifact.token != Job.token)
        )
    found["stale"] = stale or 0
    found["accepted_twice"] = len(states) - len(jobs) + sum(count > 1 for count in ends.values())
    for job_id, kind in jobs.items():
        if states.get(job_id) != State.SUCCEEDED:
            found["lost"] += 1
            continue
        mine, reference = result(world, job_id), references[kind]
        found["students"] += mine.sha256 != reference.sha256
        found["curves"] += mine.curves != reference.curves
    return dict(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", default="")
    parser.add_argument("--broker", default="")
    options = parser.parse_args()
    with world(options.seed, options.database, options.broker) as it:
        bodies = kinds(it)
        references = []
        for number, body in enumerate(bodies):
            job = post(it, "/jobs", {**body, "name": "reference"}, f"reference-{number}")["id"]
            assert settled(it, f"/jobs/{job}")["state"] == "succeeded"
            references.append(result(it, job))
        print(f"{len(bodies)} undisturbed jobs are done; now with faults", flush=True)

        watch, over = Watch(it), threading.Event()
        watch.start()
        counts: Counter[str] = Counter()
        injector = threading.Thread(target=lambda: counts.update(torment(it, watch, over)))
        injector.start()
        began = time.monotonic()
        jobs: dict[str, int] = {}
        for number in range(options.jobs):
            kind = number % len(bodies)
            body = {**bodies[kind], "name": "chaos"}
            jobs[post(it, "/jobs", body, f"chaos-{number}")["id"]] = kind
        for number, job in enumerate(jobs):
            state = settled(it, f"/jobs/{job}")["state"]
            if number % 10 == 9:
                print(f"  {number + 1} jobs, the last one {state}", flush=True)
        over.set()
        injector.join()
        watch.over.set()
        watch.join()
        found = audit(it, jobs, references)

    spans = sorted(watch.recoveries) or [0.0]
    print(f"\nseed {options.seed}, {time.monotonic() - began:.0f} s, lease {LEASE_S:g} s\n")
    print("| what | count |\n|---|---|")
    print(f"| jobs | {len(jobs)} |\n| faults | {sum(counts.values())} |")
    for name, count in sorted(counts.items()):
        print(f"| - {name} | {count} |")
    print(f"| lost | {found['lost']} |\n| accepted twice | {found['accepted_twice']} |")
    print(f"| stale writes accepted | {found['stale']} |")
    print(f"| students unlike the undisturbed one | {found['students']} |")
    print(f"| jobs whose curves differ from the undisturbed ones | {found['curves']} |")
    print(f"| steps seen to be trained twice | {watch.wasted} of {watch.trained} |")
    p99 = spans[min(int(0.99 * len(spans)), len(spans) - 1)]
    print(f"| until work goes on, p50 / p99 | {statistics.median(spans):.1f} / {p99:.1f} s |")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
