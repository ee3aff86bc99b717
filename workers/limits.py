"""What a trainer may take of its machine: set by itself, before it sees any byte of a client's.

Address space is no measure (torch and CUDA reserve far more than they use), so the kernel bounds
what is writable and private (RLIMIT_DATA), roughly, and `workers.memory` what is used, exactly.
"""

import contextlib
import ctypes
import errno
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from app.spec.problems import Refused

OPEN_FILES = 4096
ARENA_BYTES = 2 * 2**30
"""What allocators reserve in one piece, used or not: pyarrow's takes 1 GiB at its first table."""
OOM_SCORE = 500
"""Of 1000: when memory runs out after all, the kernel takes a trainer and not its worker."""

_PR_SET_NO_NEW_PRIVS = 38
_OUT_OF_MEMORY = ("allocate memory", "out of memory", "bad_alloc")
"""How torch says it on the CPU, and C++."""


@dataclass(frozen=True)
class Bounds:
    """Of one order; null is without bound. Files: the size of each that is written."""

    memory_bytes: int | None = None
    file_bytes: int | None = None


def confine() -> None:
    """For the rest of this process's life, and its children's: no core dumps, which would hold
    other people's data, no new privileges, and no more open files than a training needs."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


def impose(bounds: Bounds) -> None:
    """Once there is an order. What this process holds already is not counted."""
    if bounds.memory_bytes is not None and (held := _data_bytes()) is not None:
        _lower(resource.RLIMIT_DATA, held + bounds.memory_bytes + ARENA_BYTES)
    if bounds.file_bytes is not None:
        _lower(resource.RLIMIT_FSIZE, bounds.file_bytes)


def overstepped(error: BaseException) -> Refused | None:
    """The problem, where an exception comes from such a bound."""
    if type(error).__name__ == "OutOfMemoryError":  # torch's, of an accelerator
        return Refused.invalid(
            "over_accelerator_memory",
            "This takes more memory than the accelerator has left.",
            hint="Take a smaller batch_size or a smaller network, or free the accelerator.",
        )
    if isinstance(error, MemoryError) or any(word in str(error) for word in _OUT_OF_MEMORY):
        return over_memory()
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return Refused.too_large("over_file_size", "A file would become larger than is allowed.")
    return None


def over_memory() -> Refused:
    return Refused.invalid(
        "over_memory",
        "This takes more memory than one process may have.",
        "The service's owner sets the bound, STILLHOUSE_PROCESS_MEMORY_BYTES.",
    )


def _lower(what: int, limit: int) -> None:
    """Never raised: what surrounds the service may be stricter."""
    _, hard = resource.getrlimit(what)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(what, (limit, limit))


def _data_bytes() -> int | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return None
