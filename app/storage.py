"""Bytes by their SHA-256, stored once: in a directory or in an object store.

A blob never changes, so whoever holds its hash may keep, link or cache it without asking again.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import NotFoundError
from obstore.store import from_url

from app.settings import MIB, Settings

CHUNK = MIB
REMOTE_CHUNK = 8 * MIB


class BlobWriter:
    """A blob on its way in: hashed while it is written to a temporary file.

    As a context manager it leaves nothing behind unless it was committed.
    """

    def __init__(self, folder: Path, keep: Callable[[Path, str], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file, name = tempfile.mkstemp(dir=folder, prefix="incoming-")
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

    Raises FileNotFoundError where a blob is not there.
    """

    def writer(self) -> BlobWriter: ...

    def put_file(self, path: Path) -> tuple[str, int]:
        """Stores a finished file, which must not change afterwards: it may be linked, not copied.

        Returns its SHA-256 and size.
        """
        ...

    def read(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `end` (exclusive), in large chunks."""
        ...

    def size(self, sha256: str) -> int: ...

    def exists(self, sha256: str) -> bool: ...

    def local_path(self, sha256: str, cache: Path) -> Path:
        """The blob as a local file: itself, or a verified download kept under `cache`."""
        ...

    def delete(self, sha256: str) -> None:
        """Not an error when it is already gone."""
        ...

    def tidy(self, older_than_s: float) -> None:
        """Removes what unfinished uploads left behind, untouched for so long."""
        ...

    def check(self) -> None:
        """Raises when nothing could be stored now."""
        ...


class DirectoryStorage:
    """One file a blob, under `<root>/<two digits>/<sha256>`."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def path(self, sha256: str) -> Path:
        return self.root / sha256[:2] / sha256

    def writer(self) -> BlobWriter:
        return BlobWriter(self.root / "incoming", self._keep)

    def put_file(self, path: Path) -> tuple[str, int]:
        sha256, size = hash_file(path)
        target = self.path(sha256)
        if not target.exists():
            incoming = self.root / "incoming"
            incoming.mkdir(parents=True, exist_ok=True)
            temporary = incoming / f"linked-{secrets.token_hex(8)}"
            try:
                try:
                    os.link(path, temporary)
                except OSError:  # another file system, or one without links
                    shutil.copyfile(path, temporary)
                _fsync(temporary)
                self._keep(temporary, sha256)
            finally:
                temporary.unlink(missing_ok=True)  # half a copy, on a disk that is full now
        return sha256, size

    def read(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        with self.path(sha256).open("rb", buffering=0) as file:
            file.seek(start)
            left = (end if end is not None else os.fstat(file.fileno()).st_size) - start
            while left > 0 and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk

    def size(self, sha256: str) -> int:
        return self.path(sha256).stat().st_size

    def exists(self, sha256: str) -> bool:
        return self.path(sha256).exists()

    def local_path(self, sha256: str, cache: Path) -> Path:  # noqa: ARG002
        path = self.path(sha256)
        path.stat()
        return path

    def delete(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)

    def tidy(self, older_than_s: float) -> None:
        _remove_old(self.root / "incoming", older_than_s)

    def check(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.root) as file:
            file.write(b"x")

    def _keep(self, temporary: Path, sha256: str) -> None:
        target = self.path(sha256)
        if target.exists():
            temporary.unlink()
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)
        _fsync(target.parent)


class ObjectStorage:
    """One object a blob, in S3, Google Cloud Storage, Azure or whatever else obstore opens.

    Uploads are spooled to a local file first: the key is the hash, which is known only at the end,
    and a copy inside an object store is limited to 5 GB where an upload in parts is not.
    """

    def __init__(self, url: str, spool: Path) -> None:
        self._store = from_url(url)
        self._spool = spool

    def writer(self) -> BlobWriter:
        return BlobWriter(self._spool, self._keep)

    def put_file(self, path: Path) -> tuple[str, int]:
        sha256, size = hash_file(path)
        self._keep(path, sha256)
        return sha256, size

    def read(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        end = self.size(sha256) if end is None else end
        while start < end:
            stop = min(start + REMOTE_CHUNK, end)
            with _missing_is_file_not_found(sha256):
                yield bytes(obstore.get_range(self._store, _key(sha256), start=start, end=stop))
            start = stop

    def size(self, sha256: str) -> int:
        with _missing_is_file_not_found(sha256):
            return obstore.head(self._store, _key(sha256))["size"]

    def exists(self, sha256: str) -> bool:
        try:
            self.size(sha256)
        except FileNotFoundError:
            return False
        return True

    def local_path(self, sha256: str, cache: Path) -> Path:
        path = cache / sha256[:2] / sha256
        if not path.exists():
            with DirectoryStorage(cache).writer() as writer:
                for chunk in self.read(sha256):
                    writer.write(chunk)
                if writer.sha256 != sha256:
                    raise OSError(f"the object store returned other bytes for {sha256}")
                writer.commit()
        return path

    def delete(self, sha256: str) -> None:
        try:
            obstore.delete(self._store, _key(sha256))
        except (NotFoundError, FileNotFoundError):
            return

    def tidy(self, older_than_s: float) -> None:
        _remove_old(self._spool, older_than_s)

    def check(self) -> None:
        next(iter(obstore.list(self._store, chunk_size=1)), None)

    def _keep(self, path: Path, sha256: str) -> None:
        if not self.exists(sha256):
            obstore.put(self._store, _key(sha256), path)


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings name."""
    url = settings.storage_url
    if url is None:
        return DirectoryStorage(settings.home / "artifacts")
    if url.startswith("file://"):
        return DirectoryStorage(Path(unquote(urlsplit(url).path)))
    return ObjectStorage(url, settings.home / "spool")


def hash_file(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


def _remove_old(folder: Path, older_than_s: float) -> None:
    for path in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > older_than_s:
                path.unlink()


def _key(sha256: str) -> str:
    return f"blobs/{sha256[:2]}/{sha256}"


class _missing_is_file_not_found:  # noqa: N801  (reads as a statement)
    def __init__(self, sha256: str) -> None:
        self._sha256 = sha256

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, NotFoundError):
            raise FileNotFoundError(self._sha256) from error


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
