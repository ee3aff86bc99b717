"""The processes that `make serve` starts, watches, restarts and stops."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.lifeline import die_with_parent

CALM_S = 10.0
"""A child that lived so long has recovered: its next death is answered at once again."""
LONGEST_S = 30.0
"""The longest pause before a restart."""
ROTATE_BYTES = 16 * 1024 * 1024


class Child:
    """A process in a session of its own, which the terminal's Ctrl-C does not reach.

    Its output goes to a log file. Must be started from the main thread of a process with no other
    threads: the kernel ties the child's life to the starting thread.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        logs: Path,
        descriptors: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        self._command = command
        self._environment = environment
        self._descriptors = descriptors
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._deaths = 0
        self._restart_at: float | None = None

    def start(self) -> None:
        if self.log.exists() and self.log.stat().st_size > ROTATE_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        parent = os.getpid()

        def in_child() -> None:
            die_with_parent()
            if os.getppid() != parent:
                os._exit(1)

        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self._descriptors,
                preexec_fn=in_child,  # safe: with one thread, no lock can be held
            )
        self._started = time.monotonic()
        self._restart_at = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def mend(self) -> str | None:
        """Restarts a child that died, after a pause that grows; what there is to say about it."""
        now = time.monotonic()
        if self.running:
            return None
        if self._restart_at is None:
            self._deaths = 1 if now - self._started > CALM_S else self._deaths + 1
            pause = min(0.25 * 2**self._deaths, LONGEST_S)
            self._restart_at = now + pause
            return f"{self.name} {self.cause}; starting it again in {pause:.1f} s (see {self.log})"
        if now >= self._restart_at:
            self.start()
            return f"{self.name} is started again"
        return None

    @property
    def cause(self) -> str:
        """How it ended."""
        code = self._process.returncode if self._process else None
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def last_words(self, lines: int = 12) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def terminate(self) -> None:
        if self._process is not None and self.running:
            self._process.terminate()

    def kill(self) -> None:
        """The child and whatever it started in its session."""
        if self._process is not None and self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
