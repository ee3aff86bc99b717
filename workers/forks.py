"""A worker's side of trainer processes that are being born, live and die.

`Spawned` is a program of its own, `Forked` a child of the fork server (forkserver.py). Both can be
waited for with a selector, killed from any thread, and keep their number until they are closed.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from app.lifeline import PARENT
from workers.forkserver import FORKS_FD

SERVER = (sys.executable, "-m", "workers.forkserver")
END_S = 10.0
"""How long a killed process may take to be gone."""


class Process(Protocol):
    """One process of a trainer."""

    @property
    def pid(self) -> int | None:
        """None while it is being born."""

    @property
    def descriptor(self) -> int:
        """Becomes readable when `ended` should be asked."""

    def ended(self) -> bool: ...

    def terminate(self) -> None:
        """Sends SIGTERM, at the latest when it is there."""

    def kill(self) -> None:
        """Ends the whole group at once. Any thread may call it, until `close`."""

    def close(self) -> int:
        """Kills it and frees its number; the exit code, or -signal."""


class Starter(Protocol):
    """Starts programs from a thread that lasts (processes.Spawner)."""

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]: ...


class Spawned:
    """A program of its own, in a process group of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.descriptor = os.pidfd_open(process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> bool:
        return _readable(self.descriptor)

    def terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, signal.SIGTERM)

    def kill(self) -> None:
        # The leader is not reaped before `close`, so its group's number is still its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> int:
        self.kill()
        code = self._process.wait()
        os.close(self.descriptor)
        return code


class Forked:
    """A child of the fork server, which may still be warming up itself."""

    def __init__(self, channel: socket.socket, server: object) -> None:
        self._server = server  # would end, and its children with it, if nobody kept it
        self._channel = channel
        self._channel.setblocking(False)
        self.descriptor = channel.fileno()
        self._pid: int | None = None
        self._pidfd: int | None = None
        self._code: int | None = None
        self._wanted: signal.Signals | None = None
        """What was sent to it before it was there."""
        self._heard = b""
        self._lock = threading.RLock()

    @property
    def pid(self) -> int | None:
        self.ended()  # by way of hearing what there is to hear
        return self._pid

    def ended(self) -> bool:
        with self._lock:
            while self._code is None and self._listen():
                pass
            return self._code is not None

    def _listen(self) -> bool:
        """Whether there was something to hear."""
        try:
            heard, descriptors, _, _ = socket.recv_fds(self._channel, 4096, 1)
        except BlockingIOError:
            return False
        except OSError:
            heard, descriptors = b"", []
        if descriptors:
            self._pidfd = descriptors[0]
        if not heard:  # the fork server is gone, and takes its children with it
            self._signal(signal.SIGKILL)
            self._code = -signal.SIGKILL
            return True
        *lines, self._heard = (self._heard + heard).split(b"\n")
        for line in lines:
            told = json.loads(line)
            self._code = told.get("code", self._code)
            self._pid = told.get("pid", self._pid)
            if "pid" in told and self._wanted is not None:
                self._signal(self._wanted)
        return True

    def terminate(self) -> None:
        with self._lock:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        with self._lock:
            self._signal(signal.SIGKILL)
            # Half closed: the server sees the end, kills the whole group and reaps it.
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_WR)

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd is None:
            self._wanted = number
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> int:
        with self._lock, selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            self.kill()
            while not self.ended():
                if not selector.select(END_S):
                    self._code = -signal.SIGKILL  # the fork server hangs
            assert self._code is not None  # noqa: S101
            if self._pidfd is not None:
                os.close(self._pidfd)
            self._channel.close()
            return self._code


def may_fork(device: str, nodes: Path = Path("/dev")) -> bool:
    """Whether trainers may be forked: those for the CPU only.

    A fork survives no CUDA context. The fork server makes none, but that has not been proven on a
    machine with a GPU, where starting torch is a small part of a training anyway.
    """
    gpu = any((nodes / name).exists() for name in ("nvidiactl", "dxg"))  # dxg: under Windows
    return device == "cpu" or (device == "auto" and not gpu)


class Forks:
    """Asks the fork server for trainers; starts it, and again when it has died.

    Never waits: a trainer asked for while the server still warms up is born when it is warm.
    """

    def __init__(self, starter: Starter, environment: Mapping[str, str]) -> None:
        self._starter = starter
        self._environment = environment
        self._lock = threading.Lock()
        self._server: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def start(self) -> socket.socket:
        """The socket of a living server."""
        if self._server is not None and self._server[0].poll() is None:
            return self._server[1]
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = self._starter.popen(
                SERVER,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={
                    **self._environment,
                    FORKS_FD: str(theirs.fileno()),
                    PARENT: str(os.getpid()),
                },
            )
        self._server = process, ours
        return ours

    def fork(self, orders: int, output: int, events: int) -> Forked:
        """A trainer with these descriptors as its stdin, output and events."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            descriptors = [orders, output, events, theirs.fileno()]
            for _ in range(2):
                try:
                    socket.send_fds(self.start(), [b"f"], descriptors)
                    break
                except OSError:  # it died a moment ago
                    self.close()
        return Forked(ours, self)

    def close(self) -> None:
        """Ends the server and all its children."""
        if self._server is not None:
            process, ours = self._server
            self._server = None
            ours.close()
            process.kill()
            process.wait()


def _readable(descriptor: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(0))
