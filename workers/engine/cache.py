"""Results kept on disk by content, for this job's next epoch and for later jobs."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


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

    def get(self, kind: str, key: str) -> Path | None:
        """The file, marked as used; None when it is not there."""
        path = self._path(kind, key)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def put(self, kind: str, key: str, write: Callable[[Path], None]) -> Path:
        """Lets `write` fill a temporary file, then gives it its name: never seen half-written."""
        path = self._path(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        os.close(handle)
        try:
            write(Path(name))
            os.replace(name, path)  # noqa: PTH105
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._trim(path)
        return path

    def _path(self, kind: str, key: str) -> Path:
        if self.owner:
            key = content_key(owner=self.owner, key=key)
        return self.folder / kind / key[:2] / key

    def _trim(self, keep: Path) -> None:
        files = []
        for path in self.folder.rglob("*"):
            try:
                if path.is_file():
                    files.append((path.stat().st_mtime, path.stat().st_size, path))
            except FileNotFoundError:
                continue  # another trainer trims too
        excess = sum(size for _, size, _ in files) - self.max_bytes
        for _, size, path in sorted(files):
            if excess <= 0:
                break
            if path != keep:
                path.unlink(missing_ok=True)
                excess -= size
