"""Files on this side: read in parts, hashed, and written so that a broken download can go on."""

import base64
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""


@dataclass(frozen=True)
class Source:
    """Bytes to upload: a file, or what is in memory."""

    name: str
    size: int
    content: bytes | Path

    @classmethod
    def of(cls, content: bytes | str | os.PathLike[str], name: str | None = None) -> "Source":
        """Raises OSError where a file cannot be read."""
        if isinstance(content, bytes):
            return cls(name or "file.bin", len(content), content)
        path = Path(content)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
        return cls(name or path.name, size, path)

    def read(self, start: int, size: int) -> bytes:
        if isinstance(self.content, bytes):
            return self.content[start : start + size]
        with self.content.open("rb") as file:
            file.seek(start)
            return file.read(size)

    def part(self, start: int, size: int) -> tuple[bytes, str]:
        """Its bytes, and their SHA-256."""
        content = self.read(start, size)
        return content, hashlib.sha256(content).hexdigest()

    def chunks(self) -> Iterator[bytes]:
        if isinstance(self.content, bytes):
            for start in range(0, self.size, CHUNK):
                yield self.content[start : start + CHUNK]
            return
        with self.content.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()


class Tally:
    """Adds up, and tells, what several threads or tasks have done."""

    def __init__(self, size: int, progress: Progress | None) -> None:
        self._size = size
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._progress is not None:
                self._progress(self._done, self._size)


def digest_header(sha256: str) -> str:
    """Content-Digest (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Partial:
    """A download under way, beside where it will lie. Its name holds the hash of the whole, so it
    is only ever continued with the same bytes."""

    def __init__(self, to: Path, sha256: str) -> None:
        self.to = to
        self.sha256 = sha256
        self.path = to.with_name(f".{to.name}.{sha256[:16]}.part")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def open(self, start: int) -> BinaryIO:
        """To write on from `start`; what lies behind it is dropped."""
        self.to.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("r+b" if self.path.exists() else "wb")
        file.truncate(start)
        file.seek(start)
        return file

    def finish(self) -> None:
        """Puts it in place, and removes what is left of other attempts at other bytes."""
        self.path.replace(self.to)
        for left in self.to.parent.glob(f".{_literal(self.to.name)}.*.part"):
            left.unlink(missing_ok=True)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
