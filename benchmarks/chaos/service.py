"""The service under test: `make serve`, a second training worker, and what they lean on."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.db import Database
from app.queue import TRAIN_QUEUES
from app.settings import Settings
from benchmarks.chaos.disk import Disk
from benchmarks.chaos.servers import Broker, Postgres

LEASE_S = 4.0
SWEEP_S = LEASE_S / 4
SLOTS = 2
"""Trainings side by side in each of the two training workers."""


@dataclass
class Service:
    """What there is to hurt. `broker` and `postgres` are None with the embedded ones."""

    home: Path
    url: str
    settings: Settings
    database: Database
    serve: subprocess.Popen[bytes]
    second: "SecondWorker"
    disk: Disk
    broker: Broker | None
    postgres: Postgres | None

    def processes(self) -> list[psutil.Process]:
        """All that belongs to the service, whoever started it."""
        roots = [psutil.Process(self.serve.pid), *self.second.processes()]
        found = []
        for root in roots:
            with suppress(psutil.Error):
                found += [root, *root.children(recursive=True)]
        return found

    def named(self, *words: str) -> list[psutil.Process]:
        """Those with all of these among their arguments."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                line = process.cmdline()
                if all(any(word in argument for argument in line) for word in words):
                    found.append(process)
        return found

    def training_workers(self) -> list[psutil.Process]:
        return [process for process in self.named("workers.celery_app") if _trains(process)]

    def fork_servers(self) -> list[psutil.Process]:
        """Those of training workers."""
        workers = {worker.pid for worker in self.training_workers()}
        return [one for one in self.named("workers.forkserver") if _parent(one) in workers]

    def trainers(self) -> list[psutil.Process]:
        """Those of training workers, the busiest first."""
        servers = {server.pid for server in self.fork_servers()}
        found = [one for one in self.named("workers.forkserver") if _parent(one) in servers]
        return sorted(found, key=_cpu, reverse=True)

    def strays(self) -> list[psutil.Process]:
        """Any process on this machine that still works for this data directory."""
        mine = str(self.home)
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                alive = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get("STILLHOUSE_HOME") == mine:
                    found.append(process)
        return found

    def stop(self, limit_s: float = 60) -> int:
        """Ends it as a person would; the exit code of `make serve`."""
        self.second.close()
        self.serve.send_signal(signal.SIGTERM)
        return self.serve.wait(limit_s)


class SecondWorker:
    """Another training worker on this machine, as more machines would bring; restarted when it
    ends, as a service manager would."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def processes(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            if self._process is not None:
                return [psutil.Process(self._process.pid)]
        return []

    def _keep(self) -> None:
        queues = ",".join(TRAIN_QUEUES.values())
        command = [sys.executable, "-m", "celery", "-A", "workers.celery_app", "worker"]
        command += ["-Q", queues, "-n", "second@%h", "--pool", "threads", "--loglevel", "INFO"]
        command += ["--concurrency", str(SLOTS), "--without-gossip", "--without-mingle"]
        command += ["--without-heartbeat"]
        while not self._over.is_set():
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    command, env=self._environment, stdout=log, stderr=log, start_new_session=True
                )
            while self._process.poll() is None and not self._over.wait(0.1):
                pass
            self._over.wait(0.5)
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(40)
            self._process.kill()

    def close(self) -> None:
        self._over.set()
        self._thread.join()


@contextmanager
def service(*, postgres: bool) -> Iterator[Service]:
    """Started, ready, and gone afterwards with all it wrote."""
    with tempfile.TemporaryDirectory(prefix="stillhouse-chaos-") as folder:
        base = Path(folder)
        base.chmod(0o755)  # PostgreSQL may run as another user
        home = base / "home"
        home.mkdir()
        disk = Disk(home)
        own_postgres = Postgres(base / "postgres") if postgres else None
        own_broker = Broker(base) if postgres else None
        started: list[subprocess.Popen[bytes]] = []
        seconds: list[SecondWorker] = []
        try:
            environment = _environment(home, own_postgres, own_broker)
            with (base / "serve.log").open("ab") as log:
                serve = subprocess.Popen(
                    [sys.executable, "-m", "app.serve"], env=environment, stdout=log, stderr=log
                )
            started.append(serve)
            url = _told(home, serve, base / "serve.log")
            if own_broker is None:
                environment["STILLHOUSE_BROKER_URL"] = f"redis+socket://{_socket(serve)}"
            settings = Settings(
                home=home,
                database_url=own_postgres and own_postgres.url,
                broker_url=environment["STILLHOUSE_BROKER_URL"],
            )
            second = SecondWorker(environment, home / "logs" / "second.log")
            seconds.append(second)
            database = Database(settings.database)
            yield Service(
                home, url, settings, database, serve, second, disk, own_broker, own_postgres
            )
            database.close()
        finally:
            for worker in seconds:
                worker.close()
            for process in started:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(60)
                process.kill()
            if own_broker is not None:
                own_broker.close()
            if own_postgres is not None:
                own_postgres.close()
            disk.close()


def _environment(home: Path, postgres: Postgres | None, broker: Broker | None) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if "STILLHOUSE_" not in name},
        "OMP_WAIT_POLICY": "PASSIVE",
        "STILLHOUSE_HOME": str(home),
        "STILLHOUSE_PORT": "0",
        "STILLHOUSE_DATABASE_URL": postgres.url if postgres else "",
        "STILLHOUSE_BROKER_URL": broker.url if broker else "",
        "STILLHOUSE_DEVICE": "cpu",
        "STILLHOUSE_WORKERS": str(SLOTS),
        "STILLHOUSE_THREADS": "1",
        "STILLHOUSE_LEASE_S": str(LEASE_S),
        "STILLHOUSE_CHECKPOINT_EVERY_S": "0.2",
        "STILLHOUSE_DISK_FULL_PAUSE_S": "2",
        # Faults come faster than these short trainings save: none of the jobs is poison.
        "STILLHOUSE_MAX_ATTEMPTS": "100",
    }


def _told(home: Path, serve: subprocess.Popen[bytes], log: Path) -> str:
    """The URL, once the service is ready."""
    told = home / "serve.json"
    while not told.exists():
        if serve.poll() is not None:
            raise SystemExit(log.read_text())
        time.sleep(0.1)
    return str(json.loads(told.read_text())["url"])


def _socket(serve: subprocess.Popen[bytes]) -> str:
    for child in psutil.Process(serve.pid).children():
        # Valkey rewrites its title: "... unixsocket:<path>".
        for word in " ".join(child.cmdline()).replace("unixsocket:", " ").split():
            if word.endswith("broker.sock"):
                return word
    raise RuntimeError("no embedded broker was found")


def _trains(process: psutil.Process) -> bool:
    with suppress(psutil.Error, ValueError, IndexError):
        line = process.cmdline()
        return "train" in line[line.index("-Q") + 1]
    return False


def _parent(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return process.ppid()
    return 0


def _cpu(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
