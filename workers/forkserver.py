"""The process that trainers are forked from: `python -m workers.forkserver`.

Importing torch costs seconds of a core, a fork of a process that has done so costs milliseconds.
So a worker keeps one process that imports and then does nothing else: no tensor is ever made in
it, since threads and devices do not survive a fork.

It listens on a Unix socket, the file descriptor named in STILLHOUSE_FORKS_FD. Each message is one
byte with four descriptors: a trainer's stdin, output and events, and a channel of the trainer's
own. On the channel it answers with two JSON lines: {"pid": ...} and a pidfd once there is a
process, {"code": ...} when it has ended. The process is reaped, and until then its number is its
own, when the other end of the channel is closed; if it still runs then, it is killed.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass

from app.lifeline import PARENT, tie_to_parent
from workers.protocol import EVENTS_FD

FORKS_FD = "STILLHOUSE_FORKS_FD"
# The optimisers import it at their first step, and it takes as long as torch itself.
PRELOADED = ("workers.runner", "torch._dynamo")


@dataclass
class Forked:
    """A trainer, as its fork server knows it."""

    pid: int
    pidfd: int
    channel: socket.socket

    def close(self) -> None:
        os.close(self.pidfd)
        self.channel.close()


class ForkServer:
    """Forks on request; one thread, so that a child finds no lock held by another."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._trainers: dict[int, Forked] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)

    def serve(self) -> int:
        """Until the other end of the socket is closed. In a child: the trainer's exit code."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._requests:
                    message, descriptors, _, _ = socket.recv_fds(self._requests, 1, 4)
                    if not message:  # the worker is closing, or gone
                        return 0
                    if self._fork(descriptors):
                        return _trainer(descriptors)
                    continue
                forked: Forked = key.data
                if key.fileobj is forked.channel:
                    self._reap(forked)
                elif self._trainers.get(forked.pid) is forked:
                    self._tell_end(forked)  # unless an event of the same moment had it reaped

    def _fork(self, descriptors: list[int]) -> bool:
        """True in the child."""
        channel = socket.socket(fileno=descriptors.pop())
        pid = os.fork()
        if pid == 0:
            channel.close()
            self._requests.close()
            self._selector.close()
            for other in self._trainers.values():
                other.close()
            return True
        for descriptor in descriptors:
            os.close(descriptor)
        forked = self._trainers[pid] = Forked(pid, os.pidfd_open(pid), channel)
        # Whoever asked may be gone already: the channel is then at its end, and `_reap` follows.
        with suppress(OSError):
            socket.send_fds(channel, [_line(pid=pid)], [forked.pidfd])
        self._selector.register(channel, selectors.EVENT_READ, forked)
        self._selector.register(forked.pidfd, selectors.EVENT_READ, forked)
        return False

    def _tell_end(self, forked: Forked) -> None:
        self._selector.unregister(forked.pidfd)
        end = os.waitid(os.P_PID, forked.pid, os.WEXITED | os.WNOWAIT)
        assert end is not None  # noqa: S101  (without WNOHANG it waits)
        code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        with suppress(OSError):
            forked.channel.sendall(_line(code=code))

    def _reap(self, forked: Forked) -> None:
        for end in (os.killpg, os.kill):  # a newborn has not made its group yet
            with suppress(ProcessLookupError):
                end(forked.pid, signal.SIGKILL)
        with suppress(KeyError):
            self._tell_end(forked)
        os.waitpid(forked.pid, 0)
        self._selector.unregister(forked.channel)
        forked.close()
        del self._trainers[forked.pid]


def _line(**document: int) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _trainer(descriptors: list[int]) -> int:
    """What a fresh child does with its stdin, output and events."""
    from workers import runner

    os.setsid()  # its own group, so that its children can be killed too
    orders, output, events = descriptors
    for source, target in ((orders, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(orders)
    os.close(output)
    os.environ[EVENTS_FD] = str(events)
    return runner.standby()


def main() -> int:
    tie_to_parent()
    # Asking the driver itself whether there is a GPU would make it useless to every child.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    requests = socket.socket(fileno=int(os.environ[FORKS_FD]))
    os.environ[PARENT] = str(os.getpid())
    for module in PRELOADED:
        importlib.import_module(module)
    # Objects that the collector never touches stay shared with the children.
    gc.collect()
    gc.freeze()
    return ForkServer(requests).serve()


if __name__ == "__main__":
    sys.exit(main())
