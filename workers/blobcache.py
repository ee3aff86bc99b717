"""An object store's blobs on this machine's disk: the least recently used go, never one in use.

Whoever uses a blob holds a hard link of its own to it, so that the link count tells, among all the
processes of this machine and after any of them was killed.
"""

import logging
from contextlib import suppress
from pathlib import Path

from app.storage import DirectoryStorage, Storage

log = logging.getLogger(__name__)


class BlobCache:
    """The folder `<home>/blobs`, of at most `max_bytes` beside what is in use."""

    def __init__(self, storage: Storage, home: Path, max_bytes: int) -> None:
        self._storage = storage
        # A directory needs no copies, and may even be this very folder.
        self._caches = not isinstance(storage, DirectoryStorage)
        self._folder = home.absolute() / "blobs"
        self._max_bytes = max_bytes

    def hold(self, sha256: str, link: Path) -> Path:
        """The blob under a name of the caller's own, for as long as that is there.

        Raises FileNotFoundError and StorageAway.
        """
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        while True:
            path = self._storage.local_path(sha256, self._folder)
            if not self._caches:
                link.symlink_to(path)
                return link
            with suppress(FileNotFoundError):  # evicted between the two lines
                link.hardlink_to(path)
                break
        self.evict()
        return link

    def tidy(self, older_than_s: float) -> None:
        """Removes what downloads left behind whose worker was killed."""
        DirectoryStorage(self._folder).tidy(older_than_s)

    def evict(self) -> int:
        """Removes what is too much; how many blobs went."""
        if not self._caches:
            return 0
        found = []
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            with suppress(FileNotFoundError):
                about = path.stat()
                if about.st_nlink == 1:
                    found.append((about.st_mtime, about.st_size, path))
        excess = sum(size for _, size, _ in found) - self._max_bytes
        gone = 0
        for _, size, path in sorted(found):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
            gone += 1
        if gone:
            log.info("removed %d of an object store's blobs from this disk", gone)
        return gone
