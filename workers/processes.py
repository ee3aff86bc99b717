"""Trainer processes, seen from the supervisor: started, listened to, ended."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from app.lifeline import PARENT
from workers.forks import Forks, Process, Spawned
from workers.protocol import EVENTS_FD

MAX_LINE = 4 * 1024 * 1024
"""Bytes of one event; a longer one ends the trainer."""
MAX_SAID = 64 * 1024
"""Bytes of output kept until they are taken; of more, the last."""
TAIL = 4096
"""Bytes of output kept in memory, to say what a trainer said before it died."""
CHUNK = 256 * 1024

RUNNER = (sys.executable, "-m", "workers.runner", "--standby")

# All that a trainer inherits: no database, no broker, no credentials. It reads other people's
# files, so it should have nothing to lose.
ALLOWED = frozenset(
    {
        *("PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
        *("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"),
        *("STILLHOUSE_DEVICE", "STILLHOUSE_THREADS", "STILLHOUSE_CACHE_BYTES"),
    }
)
ALLOWED_PREFIXES = (
    *("LC_", "OMP_", "GOMP_", "MKL_", "KMP_", "TORCH_", "PYTORCH_"),
    *("CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_"),
)


class ProtocolError(Exception):
    """A trainer sent what is no event."""


def trainer_environment(home: Path, source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a trainer whose data directory is `home`."""
    kept = {
        name: value
        for name, value in source.items()
        if name in ALLOWED or name.startswith(ALLOWED_PREFIXES)
    }
    home = home.absolute()
    # Libraries keep caches in HOME, and people keep credentials there.
    own = {
        "STILLHOUSE_HOME": str(home),
        "HOME": str(home),
        "TORCHINDUCTOR_CACHE_DIR": str(home / "compiled"),
        "PYTHONUNBUFFERED": "1",
    }
    # Read at the first product, which is before there is an order: see engine/device.py.
    return {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} | kept | own


class Spawner:
    """Starts every child from one lasting thread.

    The kernel ties a child to the thread that started it, not to the process: started from a
    thread of Celery's pool, a trainer would die whenever the pool retires that thread.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spawner")

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        return self._thread.submit(lambda: subprocess.Popen(command, **options)).result()  # noqa: S603

    def close(self) -> None:
        """Ends the thread, and by that whatever it started and still runs."""
        self._thread.shutdown()


class Trainer:
    """One trainer process: takes one order, then tells events until it ends.

    Forked where there are `forks`, else a program of its own.
    """

    def __init__(
        self,
        spawner: Spawner,
        environment: Mapping[str, str],
        command: Sequence[str] = RUNNER,
        forks: Forks | None = None,
    ) -> None:
        their_orders, self._orders = os.pipe()
        self._output, their_output = os.pipe()
        self._events, their_events = os.pipe()
        try:
            self._process: Process
            if forks is not None:
                self._process = forks.fork(their_orders, their_output, their_events)
            else:
                child = spawner.popen(
                    command,
                    stdin=their_orders,
                    stdout=their_output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(their_events,),
                    start_new_session=True,  # its own group, so that its children die with it
                    env={**environment, EVENTS_FD: str(their_events), PARENT: str(os.getpid())},
                )
                self._process = Spawned(child)
        finally:
            for descriptor in (their_orders, their_output, their_events):
                os.close(descriptor)
        self._selector = selectors.DefaultSelector()
        for descriptor in (self._events, self._output, self._process.descriptor):
            self._selector.register(descriptor, selectors.EVENT_READ)
        for descriptor in (self._events, self._output):
            os.set_blocking(descriptor, False)
        self._partial = b""
        self._tail = b""
        self._said = bytearray()
        self._lost = 0
        self.ended = False
        """The process is gone and its last event has been read."""

    @property
    def pid(self) -> int | None:
        """None while it is being born."""
        return self._process.pid

    def order(self, **order: Any) -> None:
        """Gives the trainer its one order. A dead trainer shows in `ended`, not here."""
        line = memoryview(json.dumps(order).encode() + b"\n")
        with contextlib.suppress(BrokenPipeError):
            while line:
                line = line[os.write(self._orders, line) :]

    def events(self, timeout_s: float) -> list[dict[str, Any]]:
        """What the trainer told, waiting up to `timeout_s` for something to happen.

        Raises ProtocolError.
        """
        dead = self._process.ended()  # asked first: what was told before a death counts
        ready = {key.fd for key, _ in self._selector.select(0 if dead else max(timeout_s, 0))}
        if self._output in ready:
            self._read_output()
        if self._events in ready:
            return self._read_events()
        self.ended = dead
        return []

    def _read_events(self) -> list[dict[str, Any]]:
        chunk = os.read(self._events, CHUNK)
        if not chunk:
            self._selector.unregister(self._events)
            return []
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        if len(self._partial) > MAX_LINE:
            raise ProtocolError(f"an event of more than {MAX_LINE} bytes")
        return [_parsed(line) for line in lines]

    def _read_output(self) -> None:
        chunk = os.read(self._output, CHUNK)
        if not chunk:
            self._selector.unregister(self._output)
            return
        self._tail = (self._tail + chunk)[-TAIL:]
        self._said += chunk
        if (over := len(self._said) - MAX_SAID) > 0:
            self._lost += over
            del self._said[:over]

    def take_output(self) -> bytes:
        """What was said since the last time, from the process's first word on."""
        said = bytes(self._said)
        if self._lost:
            said = f"[{self._lost:,} bytes came too fast and are not kept]\n".encode() + said
        self._said.clear()
        self._lost = 0
        return said

    @property
    def last_words(self) -> str:
        """The last lines of output."""
        return "\n".join(self._tail.decode(errors="replace").strip().splitlines()[-5:])

    @property
    def alive(self) -> bool:
        return not self._process.ended()

    def terminate(self) -> None:
        """Asks for a checkpoint and an end."""
        self._process.terminate()

    def kill(self) -> None:
        """Ends the whole group at once. Any thread may call it, until `close`."""
        self._process.kill()

    def close(self) -> int:
        """Kills what is left of the group, frees everything; the exit code, or -signal."""
        code = self._process.close()
        with contextlib.suppress(KeyError, BlockingIOError):
            while self._output in self._selector.get_map():
                self._read_output()
        self._selector.close()
        for descriptor in (self._orders, self._output, self._events):
            os.close(descriptor)
        return code


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise ProtocolError(f"not JSON: {line[:80]!r}") from error
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise ProtocolError(f"not an event: {line[:80]!r}")
    return event
