"""Ties a process's life to its parent's, so that a crash leaves no stray process behind."""

import ctypes
import os
import signal
import sys

PARENT = "STILLHOUSE_PARENT_PID"
"""Tells a child whose child it is: by the time it looks for itself, the parent may be gone."""

_PR_SET_PDEATHSIG = 1
# Bound here, in the parent, so that nothing is loaded between fork and exec.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def tie_to_parent() -> None:
    """The kernel kills this process once the *thread* that started it ends (Linux only).

    Called by a child at its start. Exits at once when the parent that PARENT names is already
    gone. The tie outlives an exec, but not a change of user.
    """
    die_with_parent()
    expected = os.environ.get(PARENT)
    if expected is not None and os.getppid() != int(expected):
        sys.exit("the process that started this one is gone")


def die_with_parent() -> None:
    """The kernel's half of the tie; also what a single-threaded parent runs before an exec."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
