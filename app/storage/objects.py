"""Blobs in an object store."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.store import from_url

from app.settings import MIB
from app.storage.away import translated
from app.storage.blobs import (
    BlobWriter,
    OtherBytes,
    StorageAway,
    Stored,
    free_bytes,
    hash_file,
    remove_abandoned,
)
from app.storage.directory import DirectoryStorage
from app.storage.parts import ClientParts

CHUNK = 8 * MIB
LOCAL = ("memory:", "file:")
S3 = ("s3:", "s3a:")
PREFIX = "blobs"


class ObjectStorage:
    """One object a blob, in S3, Google Cloud Storage, Azure or whatever else obstore opens.

    Uploads are spooled to a local file first: the key is the hash, which is known only at the end,
    and a copy inside an object store is limited to 5 GB where an upload in parts is not.
    `presign_s` is how long an address holds; 0 gives none.
    """

    def __init__(self, url: str, spool: Path, *, presign_s: float = 0.0) -> None:
        self._store = from_url(url, **_options(url))
        self._spool = spool
        self._presign_s = 0.0 if url.startswith(LOCAL) else presign_s
        self.client_parts = (
            None if url.startswith(LOCAL) else ClientParts(self._store, self._presign_s)
        )

    def writer(self) -> BlobWriter:
        return BlobWriter(self._spool, self._keep)

    def put_file(self, path: Path) -> tuple[str, int]:
        sha256, size = hash_file(path)
        self._keep(path, sha256)
        return sha256, size

    def assemble(self, sha256: str, chunks: Iterable[bytes]) -> None:
        whole = _checked(sha256, chunks)
        if self.exists(sha256):
            for _ in whole:  # that it is there does not mean that this is it
                pass
            return
        # What `_checked` raises at the end keeps the object from ever being there.
        with (
            translated(sha256),
            obstore.open_writer(self._store, _key(sha256), buffer_size=CHUNK) as writer,
        ):
            for chunk in whole:
                writer.write(chunk)

    def read(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        end = self.size(sha256) if end is None else end
        while start < end:
            stop = min(start + CHUNK, end)
            with translated(sha256):
                chunk = bytes(obstore.get_range(self._store, _key(sha256), start=start, end=stop))
            yield chunk
            start = stop

    def size(self, sha256: str) -> int:
        with translated(sha256):
            return obstore.head(self._store, _key(sha256))["size"]

    def exists(self, sha256: str) -> bool:
        try:
            self.size(sha256)
        except FileNotFoundError:
            return False
        return True

    def local_path(self, sha256: str, cache: Path) -> Path:
        path = cache / sha256[:2] / sha256
        try:
            os.utime(path)  # the least recently used go first
        except FileNotFoundError:
            with DirectoryStorage(cache).writer() as writer:
                for chunk in self.read(sha256):
                    writer.write(chunk)
                if writer.sha256 != sha256:
                    raise StorageAway(
                        f"the object store returned other bytes for {sha256}"
                    ) from None
                writer.commit()
        return path

    def address(self, sha256: str) -> str | None:
        if self._presign_s <= 0:
            return None
        with translated(sha256):
            # Every store that is not local can sign; their types have no name in common.
            store: Any = self._store
            return obstore.sign(store, "GET", _key(sha256), timedelta(seconds=self._presign_s))

    def stored(self) -> Iterator[Stored]:
        with translated(PREFIX):
            for some in obstore.list(self._store, PREFIX):
                for one in some:
                    name = one["path"].rpartition("/")[2]
                    yield Stored(name, one["size"], one["last_modified"].timestamp())

    def delete(self, sha256: str) -> None:
        try:
            with translated(sha256):
                obstore.delete(self._store, _key(sha256))
        except FileNotFoundError:
            return

    def tidy(self, older_than_s: float) -> None:
        remove_abandoned(self._spool, older_than_s)

    def room(self) -> int:
        return free_bytes(self._spool.absolute())

    def room_in_parts(self, size: int, part_size: int) -> int:
        return min(size, part_size)

    def check(self) -> None:
        with translated(PREFIX):
            next(iter(obstore.list(self._store, chunk_size=1)), None)

    def _keep(self, path: Path, sha256: str) -> None:
        if not self.exists(sha256):
            with translated(sha256):
                obstore.put(self._store, _key(sha256), path)


def _checked(sha256: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same chunks. Raises OtherBytes after the last one."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != sha256:
        raise OtherBytes(digest.hexdigest())


def _options(url: str) -> dict[str, Any]:
    if url.startswith(LOCAL):
        return {}
    options: dict[str, Any] = {
        # A store that is away must be told apart within seconds, not minutes; callers try again.
        "retry_config": {"max_retries": 4, "retry_timeout": timedelta(seconds=30)},
        "client_options": {
            "connect_timeout": "5s",
            "timeout": "30s",
            # The endpoint's own scheme decides; stores inside a house often have no certificate.
            "allow_http": True,
        },
    }
    if url.startswith(S3):
        # Each part carries its checksum, so that the store refuses what was damaged on the way.
        options["config"] = {"checksum_algorithm": "SHA256"}
    return options


def _key(sha256: str) -> str:
    return f"{PREFIX}/{sha256[:2]}/{sha256}"
