"""What the service asks of a place for blobs, and how a blob comes in."""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from app.storage.parts import ClientParts

INCOMING = "incoming-"
YOUNG_S = 60.0
"""A temporary file may have no lock yet for a moment after it was made."""


class StorageAway(OSError):
    """The object store does not answer, or not as it should: later it may."""


class OtherBytes(Exception):
    """What came is not what its hash promised."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"the bytes hash to {sha256}")
        self.sha256 = sha256


@dataclass(frozen=True)
class Stored:
    """A blob that lies in storage, whether or not a row knows it."""

    sha256: str
    size: int
    modified: float
    """Seconds since 1970."""


class BlobWriter:
    """A blob on its way in: hashed while it is written to a temporary file.

    As a context manager it leaves nothing behind unless it was committed. The file is locked while
    its writer lives, which tells `remove_abandoned` what a killed process left behind.
    """

    def __init__(self, folder: Path, keep: Callable[[Path, str], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file, name = tempfile.mkstemp(dir=folder, prefix=INCOMING)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._path = Path(name)
        self._keep = keep
        self._hash = hashlib.sha256()
        self._open = True
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._hash.update(data)
        view = memoryview(data)
        self.size += len(view)
        while view:
            view = view[os.write(self._file, view) :]

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._hash.hexdigest()

    def commit(self) -> tuple[str, int]:
        """Makes the blob durable. Returns its SHA-256 and size."""
        os.fchmod(self._file, 0o444)
        os.fsync(self._file)
        self._keep(self._path, self.sha256)
        self.abort()
        return self.sha256, self.size

    def abort(self) -> None:
        """Removes the temporary file; nothing to do after a commit."""
        if self._open:
            self._open = False
            os.close(self._file)
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()


class Storage(Protocol):
    """What the service and its workers ask of a place for blobs.

    Raises FileNotFoundError where a blob is not there, and StorageAway where nobody can tell.
    """

    @property
    def client_parts(self) -> "ClientParts | None":
        """Parts of uploads that clients put here themselves; None where they cannot."""
        ...

    def writer(self) -> BlobWriter: ...

    def put_file(self, path: Path) -> tuple[str, int]:
        """Stores a finished file, which must not change afterwards: it may be linked, not copied.

        Returns its SHA-256 and size.
        """
        ...

    def assemble(self, sha256: str, chunks: Iterable[bytes]) -> None:
        """Stores what the chunks are together. Raises OtherBytes, and keeps nothing then."""
        ...

    def read(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `end` (exclusive), in large chunks."""
        ...

    def size(self, sha256: str) -> int: ...

    def exists(self, sha256: str) -> bool: ...

    def local_path(self, sha256: str, cache: Path) -> Path:
        """The blob as a local file: itself, or a verified download kept under `cache`."""
        ...

    def address(self, sha256: str) -> str | None:
        """A URL that gives the bytes to whoever has it, for a while; None where there is none."""
        ...

    def stored(self) -> Iterator[Stored]:
        """Every blob that is there, in no order."""
        ...

    def delete(self, sha256: str) -> None:
        """Not an error when it is already gone."""
        ...

    def tidy(self, older_than_s: float) -> None:
        """Removes what writers left behind that were killed, or that took longer than that."""
        ...

    def room(self) -> int:
        """Free bytes where an upload is written first."""
        ...

    def room_in_parts(self, size: int, part_size: int) -> int:
        """What an upload in parts takes of `room` at most, until it is one blob."""
        ...

    def check(self) -> None:
        """Raises when nothing could be stored now."""
        ...


def hash_file(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


def free_bytes(folder: Path) -> int:
    """What may still be written under a folder, which need not be there yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def remove_abandoned(folder: Path, older_than_s: float) -> None:
    """Temporary files whose writer lives no more, and any that is older than that."""
    for path in folder.glob("*"):
        with suppress(FileNotFoundError):
            age = time.time() - path.stat().st_mtime
            if age > older_than_s or (age > YOUNG_S and _nobody_writes(path)):
                path.unlink()


def _nobody_writes(path: Path) -> bool:
    if not path.name.startswith(INCOMING):
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
