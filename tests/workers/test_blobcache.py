"""Blobs of an object store on this disk: bounded, and never taken from who uses them."""

import os
import threading
import time

import pytest

from app.storage import DirectoryStorage, ObjectStorage
from workers.blobcache import BlobCache


@pytest.fixture
def store(tmp_path):
    return ObjectStorage("memory:///", tmp_path / "spool")


def put(store, content: bytes) -> str:
    with store.writer() as writer:
        writer.write(content)
        return writer.commit()[0]


def cached(home) -> set[str]:
    return {path.name for path in (home / "blobs").glob("??/*")}


def test_the_least_recently_used_go_and_none_in_use(store, tmp_path):
    cache = BlobCache(store, tmp_path, max_bytes=250)
    run = tmp_path / "run"
    hashes = [put(store, bytes([n]) * 100) for n in range(4)]
    for n, sha256 in enumerate(hashes):
        assert cache.hold(sha256, run / str(n)).read_bytes() == bytes([n]) * 100
        os.utime(tmp_path / "blobs" / sha256[:2] / sha256, (time.time() - 100 + n,) * 2)
    assert cached(tmp_path) == set(hashes), "all of them in use"
    for n in (0, 2, 3):
        (run / str(n)).unlink()
    assert cache.evict() == 1
    assert cached(tmp_path) == set(hashes[1:]), "the oldest that nobody uses"
    cache.hold(hashes[2], run / "2").unlink()  # used again: now the youngest
    assert BlobCache(store, tmp_path, max_bytes=100).evict() == 1
    assert cached(tmp_path) == {hashes[1], hashes[2]}
    assert BlobCache(store, tmp_path, max_bytes=0).evict() == 1
    assert cached(tmp_path) == {hashes[1]}
    assert (run / "1").read_bytes() == bytes([1]) * 100


def test_what_was_evicted_is_fetched_again(store, tmp_path):
    cache = BlobCache(store, tmp_path, max_bytes=0)
    sha256 = put(store, b"weights")
    cache.hold(sha256, tmp_path / "a").unlink()
    assert cache.evict() == 1
    assert cache.hold(sha256, tmp_path / "a").read_bytes() == b"weights"


def test_holders_against_evictors(store, tmp_path):
    """Whoever holds a blob has it, whatever others remove at the same time."""
    hashes = [put(store, bytes([n]) * 1000) for n in range(3)]
    until = time.monotonic() + 1.5
    evicted, held = [], []

    def evict() -> None:
        while time.monotonic() < until:
            evicted.append(BlobCache(store, tmp_path, max_bytes=0).evict())

    def hold(mine: int) -> None:
        while time.monotonic() < until:
            for n, sha256 in enumerate(hashes):
                link = tmp_path / f"run-{mine}" / str(n)
                path = BlobCache(store, tmp_path, max_bytes=0).hold(sha256, link)
                assert path.read_bytes() == bytes([n]) * 1000
                path.unlink()
                held.append(1)

    def noting(work, *arguments) -> None:
        try:
            work(*arguments)
        except Exception as error:
            failures.append(error)

    failures: list[Exception] = []
    threads = [threading.Thread(target=noting, args=(hold, mine)) for mine in range(3)]
    threads += [threading.Thread(target=noting, args=(evict,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(evicted) > 10
    assert len(held) > 10


def test_a_directorys_own_files_are_no_copies(tmp_path):
    """Even where somebody keeps the storage in the cache's folder."""
    storage = DirectoryStorage(tmp_path / "blobs")
    sha256 = put(storage, b"the only copy")
    cache = BlobCache(storage, tmp_path, max_bytes=0)
    assert cache.hold(sha256, tmp_path / "run" / "x").read_bytes() == b"the only copy"
    (tmp_path / "run" / "x").unlink()
    assert cache.evict() == 0
    assert storage.exists(sha256)
