"""A folder for the time of an errand, and one errand at a time on each subject."""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Errands:
    """Folders under `runs`. What a killed worker leaves of them goes with the janitor's rounds."""

    def __init__(self, runs: Path, *, prefix: str = "") -> None:
        self._runs = runs
        self._prefix = prefix
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def once(self, subject: str) -> Iterator[Path | None]:
        """An empty folder; None when another thread is at the same subject."""
        with self._lock:
            busy = subject in self._busy
            self._busy.add(subject)
        if busy:
            yield None
            return
        folder = None
        try:
            self._runs.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self._runs, prefix=f"{self._prefix}{subject}-"))
            yield folder
        finally:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            with self._lock:
                self._busy.discard(subject)
