"""Parts of uploads that clients put into an object store themselves.

They lie beside the blobs, as objects of their own: the parts of a store's own multipart uploads
cannot be signed for.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import obstore

from app.settings import MIB
from app.storage.away import translated

CHUNK = 8 * MIB
PREFIX = "parts"


class ClientParts:
    """Upload id and number make the key. `presign_s` is how long an address holds; 0 gives none,
    but what came by earlier ones is there."""

    def __init__(self, store: Any, presign_s: float) -> None:
        self._store = store
        self._holds = timedelta(seconds=presign_s)

    def addresses(self, upload: str, numbers: range) -> Sequence[str] | None:
        """A URL for each part, to PUT it to."""
        if not self._holds:
            return None
        keys = [_key(upload, number) for number in numbers]
        if not keys:
            return []
        with translated(PREFIX):
            return obstore.sign(self._store, "PUT", keys, self._holds)

    def arrived(self, upload: str) -> dict[int, int]:
        """The size of each part that is there, by its number."""
        return {
            int(name): size
            for _, name, size in self._listed(f"{PREFIX}/{upload}")
            if name.isdecimal()
        }

    def read(self, upload: str, number: int, size: int) -> Iterator[bytes]:
        """The first `size` bytes of a part. Raises FileNotFoundError."""
        for start in range(0, size, CHUNK):
            with translated(_key(upload, number)):
                end = min(start + CHUNK, size)
                yield bytes(
                    obstore.get_range(self._store, _key(upload, number), start=start, end=end)
                )

    def uploads(self) -> set[str]:
        """The ids of uploads of which something lies here."""
        return {upload for upload, _, _ in self._listed(PREFIX)}

    def drop(self, upload: str, number: int | None = None) -> None:
        """One part, or all of them; not an error where there is none."""
        if number is not None:
            keys = [_key(upload, number)]
        else:
            keys = [f"{PREFIX}/{up}/{name}" for up, name, _ in self._listed(f"{PREFIX}/{upload}")]
        for key in keys:
            try:
                with translated(key):
                    obstore.delete(self._store, key)
            except FileNotFoundError:
                continue

    def _listed(self, prefix: str) -> Iterator[tuple[str, str, int]]:
        """Upload, name and size of every object."""
        with translated(prefix):
            for some in obstore.list(self._store, prefix):
                for one in some:
                    upload, _, name = one["path"].removeprefix(f"{PREFIX}/").partition("/")
                    yield upload, name, one["size"]


def _key(upload: str, number: int) -> str:
    return f"{PREFIX}/{upload}/{number}"
