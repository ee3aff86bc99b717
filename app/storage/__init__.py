"""Bytes by their SHA-256, stored once: in a directory or in an object store.

A blob never changes, so whoever holds its hash may keep, link or cache it without asking again.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.settings import Settings
from app.storage.blobs import (
    BlobWriter,
    OtherBytes,
    Storage,
    StorageAway,
    Stored,
    free_bytes,
    hash_file,
)
from app.storage.directory import DirectoryStorage
from app.storage.objects import ObjectStorage

__all__ = [
    "BlobWriter",
    "DirectoryStorage",
    "ObjectStorage",
    "OtherBytes",
    "Storage",
    "StorageAway",
    "Stored",
    "free_bytes",
    "hash_file",
    "open_storage",
]


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings name."""
    url = settings.storage_url
    if url is None:
        return DirectoryStorage(settings.home / "artifacts")
    if url.startswith("file://"):
        return DirectoryStorage(Path(unquote(urlsplit(url).path)))
    return ObjectStorage(url, settings.home / "spool", presign_s=settings.presign_s)
