"""How much memory there is: the machine's, or what its container leaves of it."""

import contextlib
import os
from functools import cache
from pathlib import Path

# Version 2 and version 1 of control groups, as a container sees its own.
LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@cache
def machine_bytes(limits: tuple[Path, ...] = LIMITS) -> int:
    """Bytes of memory that processes here can have together, as it was when first asked."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in limits:
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            found = min(found, int(path.read_text()))
    return found
