"""The memory that a process and its children really use, seen from outside."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

LOOK_S = 0.25
# Private and shared memory, wherever it is. Mapped files are not counted: the kernel takes those
# pages back whenever it wants to.
COUNTED = ("RssAnon:", "RssShmem:", "VmSwap:")


def used_bytes(pid: int) -> int:
    """Of a process and all its descendants; 0 where there is none, or no /proc."""
    return sum(_of_one(member) for member in _family(pid))


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for child in children.read_text().split():
                    yield from _family(int(child))


def _of_one(pid: int) -> int:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(COUNTED))
    return 0


class MemoryWatch:
    """Looks now and then whether a process uses more than it may."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._look_at = 0.0
        self.over = False

    def look(self, pid: int | None) -> bool:
        """Whether it was over at this look or an earlier one. Cheap to ask often."""
        if not self.over and pid is not None and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_S
            self.over = used_bytes(pid) > self._limit
        return self.over
