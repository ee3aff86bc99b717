"""Whole services, APIs alone, and databases, for as long as a with block."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import psycopg
import sqlalchemy as sa

from app.asgi import LISTEN_FD
from app.db import Database
from app.migrate import upgrade
from app.settings import Settings
from benchmarks.chaos.servers import Broker, Postgres

T = TypeVar("T")


@dataclass(frozen=True)
class Host:
    """A service that runs: its address, its database, and its API's processes."""

    url: str
    database: Database
    api: list[psutil.Process]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60)

    def api_cpu_s(self) -> float:
        """The processor time of the API's processes so far. Two machines, or one machine at two
        times, agree on it far better than on a rate."""
        return sum(sum(one.cpu_times()[:2]) for one in self.api)


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory in memory where there is such a thing."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        yield Path(folder)


@contextmanager
def postgres_database(server: str | None) -> Iterator[str]:
    """The URL of a new database in `server`, or in one of its own."""
    with ExitStack() as stack:
        if server is None:
            own = Postgres(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            stack.callback(own.close)
            server = own.url
        name = f"stillhouse_bench_{secrets.token_hex(4)}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        try:
            url = sa.make_url(server).set(database=name, drivername="postgresql")
            yield url.render_as_string(hide_password=False)
        finally:
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def service(cores: str | None = None, **settings: str) -> Iterator[Host]:
    """Everything that `make serve` starts, embedded but for what `settings` say."""
    with scratch() as home:
        environment = _environment(home, settings)
        process = subprocess.Popen(
            [*_on(cores), sys.executable, "-m", "app.serve"], env=environment
        )
        try:
            told = home / "serve.json"
            url = wait(lambda: json.loads(told.read_text())["url"] if told.exists() else None)
            wait(lambda: httpx.get(f"{url}/readyz").is_success or None)
            yield from _host(url, [process.pid], Settings(**_fields(home, settings)))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@contextmanager
def api(database_url: str, *, processes: int = 1, cores: str | None = None) -> Iterator[Host]:
    """The API with a broker and no worker, so that what is asked for is not also done."""
    with scratch() as home, ExitStack() as stack:
        broker = Broker(home)
        stack.callback(broker.close)
        settings = {"DATABASE_URL": database_url, "BROKER_URL": broker.url}
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2048))
        environment = _environment(home, settings)
        environment |= {LISTEN_FD: str(listener.fileno())}
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        upgrade(Settings(**_fields(home, settings)))
        started = []
        try:
            for _ in range(processes):  # on one socket, as `make serve` starts them
                command = [*_on(cores), sys.executable, "-m", "app.asgi"]
                started.append(
                    subprocess.Popen(command, env=environment, pass_fds=[listener.fileno()])
                )
            wait(lambda: httpx.get(f"{url}/healthz").is_success or None)
            time.sleep(3 * (processes - 1))  # one answers; the others are nearly there
            pids = [process.pid for process in started]
            yield from _host(url, pids, Settings(**_fields(home, settings)))
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                process.wait(60)


def _host(url: str, pids: Sequence[int], settings: Settings) -> Iterator[Host]:
    heads = [psutil.Process(pid) for pid in pids]
    family = [*heads, *(child for head in heads for child in head.children(recursive=True))]
    database = Database(settings.database)
    try:
        yield Host(url, database, [one for one in family if "app.asgi" in one.cmdline()])
    finally:
        database.close()


def _on(cores: str | None) -> Sequence[str]:
    return ("taskset", "-c", cores) if cores else ()


def _environment(home: Path, settings: dict[str, str]) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if "STILLHOUSE_" not in name}
    own = {"HOME": str(home), "PORT": "0", **settings}
    return plain | {f"STILLHOUSE_{name}": value for name, value in own.items()}


def _fields(home: Path, settings: dict[str, str]) -> dict[str, str | Path]:
    return {"home": home, **{name.lower(): value for name, value in settings.items()}}


def wait(probe: Callable[[], T | None], seconds: float = 60) -> T:
    """What `probe` gives once it gives anything. Raises TimeoutError."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(httpx.TransportError, OSError, ValueError):
            if (value := probe()) is not None:
                return value
        time.sleep(0.05)
    raise TimeoutError("what was waited for did not come")
