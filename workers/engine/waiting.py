"""How a training's threads wait for each other: spinning on cores of their own, else asleep.

A step of a small network is some seventy parallel regions of tens of microseconds. Threads that
sleep between them pay for every wake-up (MNIST pair: 20 to 40 % of a step). Threads that spin take
the cores from whoever shares them: four times slower beside one busy process, 27 times with
libgomp's default. libgomp spins `GOMP_SPINCOUNT` times, and next to never while the process has
more OpenMP threads than cores: so a second team, that does nothing, is the switch.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

SHARED = 0.15
"""Seconds a second that threads stood ready with no core to run on: 0.02 alone, 0.7 beside one
busy process."""
ALONE = 0.06
TASKS = Path("/proc/self/task")


@contextmanager
def considerate(interval_s: float = 0.5) -> Iterator["Watch"]:
    """Inside, waiting threads spin while this process has its cores to itself.

    Where the system does not tell (no Linux), nothing is done.
    """
    watch = Watch(interval_s)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


class Watch(threading.Thread):
    """Looks twice a second whether the cores are shared, and lets threads sleep while they are."""

    def __init__(self, interval_s: float) -> None:
        super().__init__(name="core-watch", daemon=True)
        self.interval_s = interval_s
        self._ended = threading.Event()
        self._idlers: _Idlers | None = None

    @property
    def asleep(self) -> bool:
        """Whether threads now sleep when they wait."""
        return self._idlers is not None

    def run(self) -> None:
        before, began = stood_ready(), time.monotonic()
        while before and not self._ended.wait(self.interval_s):
            now, ended = stood_ready(), time.monotonic()
            stood = sum(seconds - before.get(task, 0.0) for task, seconds in now.items())
            self.look(stood / (ended - began))
            before, began = now, ended
        self._wake()

    def look(self, share: float) -> None:
        """Switches when `share`, seconds stood ready a second, has passed a threshold."""
        if share > SHARED and self._idlers is None:
            self._idlers = _Idlers()
        elif share < ALONE:
            self._wake()

    def stop(self) -> None:
        """Ends the watch and its idle team."""
        self._ended.set()
        self.join()

    def _wake(self) -> None:
        if self._idlers is not None:
            self._idlers.end()
            self._idlers = None


def stood_ready() -> dict[str, float]:
    """Seconds that each thread of this process has stood ready without a core, by its number.

    Empty where the system does not tell.
    """
    seconds = {}
    for task in TASKS.glob("*/schedstat"):
        try:
            seconds[task.parent.name] = int(task.read_text().split()[1]) / 1e9
        except (OSError, IndexError):
            continue  # a thread that has just ended
    return seconds


class _Idlers:
    """A team of OpenMP threads that sleeps, and by its mere number stops the others' spinning."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="idle-team", daemon=True)
        self._thread.start()

    def _hold(self) -> None:
        torch.ones(1 << 20).add_(1)  # large enough to be shared out: the team exists from here on
        self._done.wait()

    def end(self) -> None:
        self._done.set()
        self._thread.join()
