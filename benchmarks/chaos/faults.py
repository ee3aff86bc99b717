"""The ways in which the service is hurt. Each returns whether it found something to hurt."""

import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
import redis
from sqlalchemy import select

from app.queue import Doorbell
from app.states import State
from app.tables import Artifact, Job
from benchmarks.chaos.service import LEASE_S, Service
from benchmarks.chaos.uploads import Uploads
from workers import shelf

BROKER_HANGS_S = 6.5
"""Longer than the socket timeout of 5 s."""
BROKER_GONE_S = 1.5
LOCKED_S = 2.0
FULL_S = 2.5


class Faults:
    """Draws everything from `dice`. `damaged` holds the hashes of the files that were damaged."""

    def __init__(self, service: Service, dice: random.Random, uploads: Uploads) -> None:
        self.service = service
        self.dice = dice
        self.uploads = uploads
        self.damaged: set[str] = set()

    def deck(self) -> list[tuple[str, Callable[[], bool]]]:
        """Every fault that this service can suffer; what happens most in life, most often."""
        faults = [
            ("trainer killed", self.trainer),
            ("trainer killed", self.trainer),
            ("worker killed", self.worker),
            ("worker killed with its whole tree", self.worker_tree),
            ("fork server killed", self.fork_server),
            ("worker stopped beyond its lease", self.stopped_worker),
            ("worker and trainers stopped beyond the lease", self.stopped_tree),
            ("worker restarted by SIGTERM", self.rolling_restart),
            ("API killed in mid-upload", self.uploads.cut),
            ("API killed between commit and answer", self.uploads.unanswered),
            ("broker flushed", self.flush),
            ("broker killed", self.broker),
            ("broker hung", self.hung_broker),
            ("messages doubled", self.double),
            ("checkpoint or finished stage damaged, trainer killed", self.damage),
        ]
        if self.service.postgres is not None:
            faults.append(("PostgreSQL restarted, fast", lambda: self.postgres("fast")))
            faults.append(("PostgreSQL crashed", lambda: self.postgres("immediate")))
        else:
            faults.append(("SQLite locked", self.lock))
        if self.service.disk.small:
            faults.append(("disk full", self.full_disk))
        return faults

    # --- processes

    def trainer(self) -> bool:
        return _kill(self._one(self.service.trainers()[:4]))

    def fork_server(self) -> bool:
        return _kill(self._one(self.service.fork_servers()))

    def worker(self) -> bool:
        return _kill(self._one(self.service.training_workers()))

    def worker_tree(self) -> bool:
        workers = self._one(self.service.training_workers())
        for worker in workers:
            with suppress(psutil.Error):
                workers = [*workers, *worker.children(recursive=True)]
        return _kill(workers)

    def stopped_worker(self) -> bool:
        """Its trainers go on meanwhile; afterwards it believes that it still holds its jobs."""
        return _stop(self._one(self.service.training_workers()), 1.5 * LEASE_S)

    def stopped_tree(self) -> bool:
        workers = self._one(self.service.training_workers())
        tree = [child for worker in workers for child in worker.children(recursive=True)]
        return _stop([*workers, *tree], 1.5 * LEASE_S)

    def rolling_restart(self) -> bool:
        found = self._one(self.service.training_workers())
        for worker in found:
            with suppress(psutil.Error):
                worker.send_signal(signal.SIGTERM)
        return bool(found)

    def _one(self, found: list[psutil.Process]) -> list[psutil.Process]:
        return [self.dice.choice(found)] if found else []

    # --- the broker

    def flush(self) -> bool:
        url = self.service.settings.broker.replace("redis+socket://", "unix://")
        try:
            with redis.Redis.from_url(url, socket_timeout=2) as client:
                client.flushall()
        except redis.RedisError:
            return False
        return True

    def broker(self) -> bool:
        """Killed; what starts it again is `make serve` where it is embedded, else we."""
        if self.service.broker is None:
            return _kill(self.service.named("valkey-server"))
        self.service.broker.kill()
        time.sleep(BROKER_GONE_S)
        self.service.broker.start()
        return True

    def hung_broker(self) -> bool:
        own = self.service.broker
        victims = [psutil.Process(own.process.pid)] if own else self.service.named("valkey-server")
        return _stop(victims, BROKER_HANGS_S)

    def double(self) -> bool:
        """Messages for jobs that need none."""
        with self.service.database.reading() as session:
            ids = session.scalars(select(Job.id).order_by(Job.created_at.desc()).limit(40)).all()
        bell = Doorbell(self.service.settings)
        for job_id in self.dice.sample(list(ids), min(10, len(ids))):
            bell.run_job(job_id)
        bell.close()
        return True

    # --- the database

    def postgres(self, mode: str) -> bool:
        assert self.service.postgres is not None
        self.service.postgres.restart(mode)
        return True

    def lock(self) -> bool:
        connection = sqlite3.connect(self.service.home / "stillhouse.db", timeout=10)
        with suppress(sqlite3.Error):
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(LOCKED_S)
            connection.rollback()
        connection.close()
        return True

    # --- the disk

    def damage(self) -> bool:
        """What a running job has saved last loses a bit, and its trainer dies: the next one has to
        begin at the checkpoint before, or to train the stage again."""
        with self.service.database.reading() as session:
            newest = session.execute(
                select(Artifact.sha256)
                .join(Job, Job.id == Artifact.job_id)
                .where(
                    Job.state == State.RUNNING,
                    Artifact.kind.in_((shelf.CHECKPOINT, shelf.DELIVERABLE)),
                )
                .order_by(Artifact.created_at.desc())
                .limit(1)
            ).scalar_one_or_none()
        if newest is None:
            return False
        path = self.service.home / "artifacts" / newest[:2] / newest
        try:
            path.chmod(0o644)
            with path.open("r+b") as file:
                file.seek(self.dice.randrange(path.stat().st_size))
                byte = file.read(1)[0]
                file.seek(-1, 1)
                file.write(bytes([byte ^ 1 << self.dice.randrange(8)]))
            self.damaged.add(newest)
        except OSError:  # replaced by the next one meanwhile
            return False
        return _kill(self.service.trainers()[:4])

    def full_disk(self) -> bool:
        self.service.disk.fill(FULL_S)
        return True


def _kill(victims: list[psutil.Process]) -> bool:
    for victim in victims:
        with suppress(psutil.Error):
            victim.kill()
    return bool(victims)


def _stop(victims: list[psutil.Process], seconds: float) -> bool:
    for victim in victims:
        with suppress(psutil.Error):
            victim.suspend()
    time.sleep(seconds if victims else 0)
    for victim in victims:
        with suppress(psutil.Error):
            victim.resume()
    return bool(victims)
