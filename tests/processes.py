"""Processes of the service that tests start, stop, kill and start again."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.settings import Settings
from benchmarks.chaos.servers import Postgres

ROOT = Path(__file__).parents[1]


class Api:
    """`python -m app.asgi` on a port of its own, which it keeps when it is started again."""

    def __init__(self, settings: Settings, **environment: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **os.environ,
            "STILLHOUSE_HOME": str(settings.home),
            "STILLHOUSE_DATABASE_URL": settings.database_url or "",
            "STILLHOUSE_BROKER_URL": settings.broker,
            "STILLHOUSE_STORAGE_URL": settings.storage_url or "",
            "STILLHOUSE_PORT": str(self.port),
            **environment,
        }
        self._log = settings.home / f"api-{self.port}.log"

    def start(self) -> "Api":
        """Without waiting: several start faster together."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "app.asgi"]
            self.process = subprocess.Popen(
                command,
                env=self._environment,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )
        return self

    def wait(self) -> "Api":
        until = time.monotonic() + 30
        while True:
            try:
                assert httpx.get(f"{self.url}/healthz").status_code == 200
            except httpx.TransportError:
                assert self.process.poll() is None, self._log.read_text()
                assert time.monotonic() < until, self._log.read_text()
                time.sleep(0.05)
            else:
                return self

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def own_postgres() -> Iterator[Postgres]:
    """A server that a test may break. It runs as another user where the tests run as root, so its
    folder lies outside of pytest's, which are closed to others."""
    with tempfile.TemporaryDirectory(prefix="stillhouse-postgres-") as folder:
        server = Postgres(Path(folder) / "data")
        try:
            yield server
        finally:
            server.close()


@contextmanager
def apis(count: int, settings: Settings, **environment: str) -> Iterator[list[Api]]:
    """So many, which end with the block."""
    started = [Api(settings, **environment).start() for _ in range(count)]
    try:
        yield [api.wait() for api in started]
    finally:
        for api in started:
            api.kill()
