"""Blobs in a directory."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from app.settings import MIB
from app.storage.blobs import (
    BlobWriter,
    OtherBytes,
    Stored,
    free_bytes,
    hash_file,
    remove_abandoned,
)

CHUNK = MIB


class DirectoryStorage:
    """One file a blob, under `<root>/<two digits>/<sha256>`."""

    client_parts = None

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def path(self, sha256: str) -> Path:
        return self.root / sha256[:2] / sha256

    def writer(self) -> BlobWriter:
        return BlobWriter(self.root / "incoming", self._keep)

    def put_file(self, path: Path) -> tuple[str, int]:
        sha256, size = hash_file(path)
        if not self._touch(sha256):
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

    def assemble(self, sha256: str, chunks: Iterable[bytes]) -> None:
        with self.writer() as writer:
            for chunk in chunks:
                writer.write(chunk)
            if writer.sha256 != sha256:
                raise OtherBytes(writer.sha256)
            writer.commit()

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

    def address(self, sha256: str) -> str | None:  # noqa: ARG002
        return None

    def stored(self) -> Iterator[Stored]:
        for path in self.root.glob("[0-9a-f][0-9a-f]/*"):
            with suppress(FileNotFoundError):
                about = path.stat()
                yield Stored(path.name, about.st_size, about.st_mtime)

    def delete(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)

    def tidy(self, older_than_s: float) -> None:
        remove_abandoned(self.root / "incoming", older_than_s)

    def room(self) -> int:
        return free_bytes(self.root)

    def room_in_parts(self, size: int, part_size: int) -> int:  # noqa: ARG002
        return 2 * size  # the parts, and the whole that is made of them

    def check(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.root) as file:
            file.write(b"x")

    def _touch(self, sha256: str) -> bool:
        """Whether the blob is there already; it then counts as young again, since somebody wants
        it who has not said so in a row yet."""
        try:
            os.utime(self.path(sha256))
        except FileNotFoundError:
            return False
        except PermissionError:
            pass  # another user of the same folder stored it
        return True

    def _keep(self, temporary: Path, sha256: str) -> None:
        if self._touch(sha256):
            temporary.unlink()
            return
        target = self.path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)
        _fsync(target.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
