import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import MIB, Settings
from app.storage import DirectoryStorage, ObjectStorage, Storage, open_storage

CONTENT = os.urandom(3 * MIB + 5)
SHA256 = hashlib.sha256(CONTENT).hexdigest()

Make = Callable[[Path], Storage]
KINDS = {
    "directory": lambda path: DirectoryStorage(path / "blobs"),
    "memory": lambda path: ObjectStorage("memory:///", path / "spool"),
    "file": lambda path: ObjectStorage(f"file://{path}/bucket", path / "spool"),
}


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    (tmp_path / "bucket").mkdir()
    made: Storage = KINDS[request.param](tmp_path)
    return made


def put(storage: Storage, content: bytes) -> str:
    with storage.writer() as writer:
        for start in range(0, len(content), 1_000_000):
            writer.write(content[start : start + 1_000_000])
        sha256, size = writer.commit()
    assert size == len(content)
    return sha256


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_goes_in_comes_out(storage: Storage) -> None:
    storage.check()
    assert put(storage, CONTENT) == SHA256
    assert put(storage, CONTENT) == SHA256
    assert storage.exists(SHA256)
    assert storage.size(SHA256) == len(CONTENT)
    assert b"".join(storage.read(SHA256)) == CONTENT
    assert b"".join(storage.read(SHA256, 10, 20)) == CONTENT[10:20]
    assert b"".join(storage.read(SHA256, 2 * MIB)) == CONTENT[2 * MIB :]
    assert list(storage.read(SHA256, 5, 5)) == []


def test_nothing_at_all(storage: Storage) -> None:
    empty = put(storage, b"")
    assert (storage.size(empty), list(storage.read(empty))) == (0, [])


def test_a_file_is_put_and_found_again(storage: Storage, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.write_bytes(CONTENT)
    assert storage.put_file(made) == (SHA256, len(CONTENT))
    assert storage.put_file(made) == (SHA256, len(CONTENT))
    made.unlink()
    for _ in range(2):
        assert storage.local_path(SHA256, tmp_path / "cache").read_bytes() == CONTENT


def test_what_is_not_there(storage: Storage, tmp_path: Path) -> None:
    missing = "0" * 64
    assert not storage.exists(missing)
    for call in (
        lambda: storage.size(missing),
        lambda: list(storage.read(missing, 0, 5)),
        lambda: storage.local_path(missing, tmp_path / "cache"),
    ):
        with pytest.raises(FileNotFoundError):
            call()
    storage.delete(missing)


def test_delete(storage: Storage) -> None:
    put(storage, CONTENT)
    storage.delete(SHA256)
    assert not storage.exists(SHA256)


def test_nothing_is_left_of_what_was_not_committed(storage: Storage, tmp_path: Path) -> None:
    with storage.writer() as writer:
        writer.write(CONTENT)

    def fail() -> None:
        with storage.writer() as writer:
            writer.write(CONTENT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert files(tmp_path) == []


def test_a_download_is_verified(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    storage = ObjectStorage(f"file://{tmp_path}/bucket", tmp_path / "spool")
    put(storage, CONTENT)
    (stored,) = files(tmp_path / "bucket")
    stored.chmod(0o644)
    stored.write_bytes(b"x" * len(CONTENT))
    with pytest.raises(OSError, match="other bytes"):
        storage.local_path(SHA256, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_the_settings_choose(tmp_path: Path) -> None:
    own = open_storage(Settings(home=tmp_path))
    assert isinstance(own, DirectoryStorage)
    assert own.root == tmp_path / "artifacts"
    named = open_storage(Settings(storage_url="file:///some%20where"))
    assert isinstance(named, DirectoryStorage)
    assert named.root == Path("/some where")
    assert isinstance(open_storage(Settings(storage_url="memory:///")), ObjectStorage)
