"""What a trainer died of, in words for the job's audit."""

import contextlib
import signal
from pathlib import Path


class Obituary:
    """Made when an attempt begins, so that it can tell what happened since."""

    def __init__(self) -> None:
        self._oom_kills = oom_kills()

    def of(self, code: int, last_words: str = "") -> str:
        """The cause, and in further lines the last words. `code` below zero is a signal."""
        if code == -signal.SIGKILL and oom_kills() > self._oom_kills:
            cause = "the trainer was killed for lack of memory (by the system's OOM killer)"
        elif code < 0:
            cause = f"the trainer was killed by {_name(-code)}"
        else:
            cause = f"the trainer ended with exit code {code} and without a result"
        return f"{cause}\n{last_words}" if last_words else cause


def oom_kills() -> int:
    """Processes that the kernel has killed for memory since it started; 0 where it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
