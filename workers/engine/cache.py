"""Results kept on disk by content, for this job's next epoch and for other jobs."""

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BEAT_S = 2.0
"""Between two signs of life of whoever makes something."""
STALE_S = 30.0
"""Whoever has given none for so long is stopped, or on a machine that is: nobody waits for it."""
LOOK_S = 0.1
ABANDONED_S = 600.0
"""A file without its name that nobody has written to for so long is left by a killed process."""


def content_key(**parts: Any) -> str:
    """A name for whatever these JSON values determine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Cache:
    """A folder of immutable files; the least recently used go when it grows over `max_bytes`.

    Each owner finds only what it has put there itself; the room is everybody's.
    """

    def __init__(self, folder: Path, max_bytes: int, owner: str = "") -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.owner = owner
        self.made: Counter[str] = Counter()
        """By kind, how much was put here through this object; as much as was found."""
        self.found: Counter[str] = Counter()

    def get(self, kind: str, key: str) -> Path | None:
        """The file, marked as used; None when it is not there. Whoever cannot read it makes it
        anew and puts it in its place."""
        path = self._path(kind, key)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        self.found[kind] += 1
        return path

    def put(self, kind: str, key: str, write: Callable[[Path], None]) -> Path:
        """Lets `write` fill a temporary file, then gives it its name: never seen half-written."""
        path = self._path(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        os.close(handle)
        try:
            write(Path(name))
            with Path(name).open("rb") as file:
                os.fsync(file.fileno())  # else its name may outlive its bytes
            os.replace(name, path)  # noqa: PTH105
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self.made[kind] += 1
        self._trim(path)
        return path

    @contextmanager
    def turn(self, kind: str, key: str, waiting: Callable[[], None]) -> Iterator[Path | None]:
        """What is there, else None and the turn to make it, for the length of the block.

        Of jobs that want the same at the same time one makes it while the others wait, calling
        `waiting` again and again, which may raise to give up. The lock goes with its holder's
        process; one that is alive and gives no sign of life is waited for no more, and then two
        make the same.
        """
        if found := self.get(kind, key):
            yield found
            return
        path = self._path(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _Lock(path.with_name(f".lock-{path.name}")) as lock:
            while not (lock.take() or lock.is_stale()):
                waiting()
                time.sleep(LOOK_S)
            yield self.get(kind, key)  # it may have come meanwhile

    def _path(self, kind: str, key: str) -> Path:
        if self.owner:
            key = content_key(owner=self.owner, key=key)
        return self.folder / kind / key[:2] / key

    def _trim(self, keep: Path) -> None:
        files = []
        for path in self.folder.rglob("*"):
            try:
                if path.is_file() and not path.name.startswith(".lock-"):
                    found = path.stat()
                    # Somebody may be writing it; once it is old, nobody is.
                    young = time.time() - found.st_mtime < ABANDONED_S
                    if not (path.name.startswith(".part-") and young):
                        files.append((found.st_mtime, found.st_size, path))
            except FileNotFoundError:
                continue  # another trainer trims too
        excess = sum(size for _, size, _ in files) - self.max_bytes
        for _, size, path in sorted(files):
            if excess <= 0:
                break
            if path != keep:
                path.unlink(missing_ok=True)
                excess -= size


class _Lock:
    """A file that is locked while somebody makes something, and touched as a sign of life."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._over = threading.Event()

    def __enter__(self) -> "_Lock":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            self._over.set()
            # Before it is let go: who comes later must not lock a file that has lost its name.
            self._path.unlink(missing_ok=True)
            os.close(self._file)

    def take(self) -> bool:
        """Whether this is the holder now."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.fstat(file).st_ino == self._path.stat().st_ino
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:
            os.close(file)
            return False
        self._file = file
        os.utime(file)
        threading.Thread(target=self._live, name="cache lock", daemon=True).start()
        return True

    def is_stale(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return time.time() - self._path.stat().st_mtime > STALE_S
        return False

    def _live(self) -> None:
        while not self._over.wait(BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(self._path)
