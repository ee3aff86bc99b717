"""Storage on a real S3 protocol: parts, checksums, ranges, addresses, and a server that dies."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import obstore
import pytest

from app.db import Database
from app.migrate import upgrade
from app.settings import MIB, Settings
from app.storage import ObjectStorage, StorageAway
from tests.api.helpers import Rows, serve
from tests.s3 import BUCKET, S3
from workers.blobcache import BlobCache
from workers.janitor import Janitor

CONTENT = os.urandom(12 * MIB + 3)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
URL = f"s3://{BUCKET}/some/prefix"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    server = S3(tmp_path_factory.mktemp("s3"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
    server.kill()


@pytest.fixture
def storage(s3: S3, tmp_path: Path) -> ObjectStorage:
    return ObjectStorage(URL, tmp_path / "spool", presign_s=60)


@pytest.fixture
def remote(s3: S3, broker_url: str, tmp_path: Path) -> Settings:
    """Of a service that stores there."""
    settings = Settings(broker_url=broker_url, home=tmp_path / "home", storage_url=URL)
    upgrade(settings)
    return settings


def put(storage: ObjectStorage, content: bytes) -> str:
    with storage.writer() as writer:
        writer.write(content)
        return writer.commit()[0]


def test_a_large_blob_goes_in_parts_with_checksums(s3: S3, storage: ObjectStorage) -> None:
    assert put(storage, CONTENT) == SHA256
    log = "\n".join(s3.requests())
    assert f"POST /{BUCKET}/some/prefix/blobs/{SHA256[:2]}/{SHA256}?uploads" in log
    assert "partNumber=3" in log
    assert storage.size(SHA256) == len(CONTENT)
    assert b"".join(storage.read(SHA256)) == CONTENT
    assert (
        b"".join(storage.read(SHA256, 9 * MIB - 5, 9 * MIB + 5))
        == (CONTENT[9 * MIB - 5 : 9 * MIB + 5])
    )
    object_ = httpx.get(storage.address(SHA256) or "", headers={"Range": "bytes=0-0"})
    assert object_.headers["x-amz-sdk-checksum-algorithm"] == "SHA256"
    before = len(s3.requests())
    assert put(storage, CONTENT) == SHA256
    assert not any("partNumber" in line for line in s3.requests()[before:]), "stored once"


def test_what_is_there_is_listed_and_goes(s3: S3, storage: ObjectStorage) -> None:
    small = put(storage, b"small")
    found = {blob.sha256: blob for blob in storage.stored()}
    assert found[small].size == 5
    storage.delete(small)
    storage.delete(small)
    assert small not in {blob.sha256 for blob in storage.stored()}
    assert not storage.exists(small)


def test_other_bytes_under_its_name_are_noticed(
    s3: S3, storage: ObjectStorage, tmp_path: Path
) -> None:
    sha256 = put(storage, b"what was stored")
    obstore.put(storage._store, f"blobs/{sha256[:2]}/{sha256}", b"what was put there")
    with pytest.raises(StorageAway, match="other bytes"):
        storage.local_path(sha256, tmp_path / "cache")
    assert list((tmp_path / "cache").rglob("incoming-*")) == []
    storage.delete(sha256)


def test_clients_download_from_the_store(s3: S3, remote: Settings, storage: ObjectStorage) -> None:
    """307 to an address of its own; what needs no bytes is answered here."""
    database = Database(remote.database)
    rows = Rows(database, storage)
    job = rows.job(state="succeeded")
    sha256 = rows.artifact(job, "student.safetensors", b"0123456789")
    rows.artifact(job, "report.json", b"{}", kind="report", format="json")
    with serve(remote) as address, httpx.Client(base_url=address) as api:
        answer = api.get(f"/jobs/{job}/student")
        assert answer.status_code == 307
        assert answer.headers["location"].startswith(f"{s3.endpoint}/{BUCKET}/some/prefix/blobs/")
        assert answer.headers["etag"] == f'"{sha256}"'
        part = api.get(
            f"/jobs/{job}/student", headers={"Range": "bytes=3-6"}, follow_redirects=True
        )
        assert (part.status_code, part.content) == (206, b"3456")
        assert part.history[0].status_code == 307
        same = api.get(f"/jobs/{job}/student", headers={"If-None-Match": f'"{sha256}"'})
        assert same.status_code == 304
        prefer = {"Prefer": "respond-async, return=representation"}
        assert api.get(f"/jobs/{job}/student", headers=prefer).content == b"0123456789"
        assert api.head(f"/jobs/{job}/student").headers["content-length"] == "10"
        assert api.get(f"/jobs/{job}/report").json() == {}
    through = remote.model_copy(update={"presign_s": 0})
    with serve(through) as address:
        assert httpx.get(f"{address}/jobs/{job}/student").content == b"0123456789"
    database.close()


def test_a_server_that_is_killed_and_comes_back(
    s3: S3, remote: Settings, storage: ObjectStorage
) -> None:
    sha256 = put(storage, b"kept")
    with serve(remote) as address:
        file_id = httpx.post(f"{address}/files", content=b"old", timeout=30).json()["id"]
        s3.kill()
        with pytest.raises(StorageAway):
            storage.exists(sha256)
        upload = httpx.post(f"{address}/files", content=b"new", timeout=30)
        here = {"Prefer": "return=representation"}
        download = httpx.get(f"{address}/files/{file_id}/content", headers=here, timeout=30)
        for answer in (upload, download):
            assert answer.status_code == 503
            assert answer.json()["code"] == "storage_unavailable"
            assert answer.json()["retryable"]
        checks = httpx.get(f"{address}/readyz", timeout=30).json()["errors"]
        assert "/checks/storage" in [check["pointer"] for check in checks]
        assert list((remote.home / "spool").glob("*")) == []
        s3.start()
        assert httpx.post(f"{address}/files", content=b"new", timeout=30).status_code == 201


def listed(s3: S3) -> list[str]:
    return s3.keys()


def begin(api: httpx.Client, content: bytes) -> dict[str, Any]:
    body = {"filename": "w", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return api.post("/uploads", json=body).json()


def put_parts(upload: dict[str, Any], content: bytes, *numbers: int) -> None:
    """By the addresses of a new answer: straight to the store, with no key."""
    size = upload["part_size"]
    for number in numbers or range(1, len(upload["parts"]) + 1):
        part = content[(number - 1) * size : number * size]
        httpx.put(upload["parts"][number - 1]["url"], content=part).raise_for_status()


@pytest.fixture
def in_parts(remote: Settings) -> Iterator[httpx.Client]:
    settings = remote.model_copy(update={"upload_part_bytes": 5 * MIB})
    with serve(settings) as address, httpx.Client(base_url=address, timeout=30) as api:
        yield api


def test_clients_put_parts_into_the_store(s3: S3, in_parts: httpx.Client) -> None:
    content = os.urandom(12 * MIB + 3)
    upload = begin(in_parts, content)
    here = f"/uploads/{upload['id']}"
    assert upload["parts"][0]["url"].startswith(f"{s3.endpoint}/{BUCKET}/some/prefix/parts/")
    put_parts(upload, content, 3, 1)
    assert in_parts.get(here).json()["arrived"] == [
        {"number": 1, "size": 5 * MIB, "sha256": None},
        {"number": 3, "size": 2 * MIB + 3, "sha256": None},
    ]
    answer = in_parts.post(f"{here}/complete")
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_incomplete")
    httpx.put(upload["parts"][1]["url"], content=b"too short")
    assert [part["number"] for part in in_parts.get(here).json()["arrived"]] == [1, 3]
    put_parts(upload, content, 2)
    file = in_parts.post(f"{here}/complete").json()
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    got = in_parts.get(f"/files/{file['id']}/content", follow_redirects=True)
    assert got.content == content
    assert not any(f"/parts/{upload['id']}/" in key for key in listed(s3))


def test_a_part_of_the_store_with_other_bytes(s3: S3, in_parts: httpx.Client) -> None:
    """Nothing is kept under the hash that was announced, and either way mends it."""
    content = os.urandom(12 * MIB + 3)
    sha256 = hashlib.sha256(content).hexdigest()
    upload = begin(in_parts, content)
    complete = f"/uploads/{upload['id']}/complete"
    put_parts(upload, content)
    wrong = os.urandom(5 * MIB)
    httpx.put(upload["parts"][1]["url"], content=wrong)
    problem = in_parts.post(complete).json()
    assert problem["code"] == "checksum_mismatch"
    assert {
        "pointer": "/parts/2",
        "code": "part_sha256",
        "detail": hashlib.sha256(wrong).hexdigest(),
    } in problem["errors"]
    assert not any(sha256 in key for key in listed(s3))
    through = f"/uploads/{upload['id']}/parts/2"
    assert in_parts.put(through, content=content[5 * MIB : 10 * MIB]).status_code == 200
    assert in_parts.post(complete).status_code == 201
    assert any(sha256 in key for key in listed(s3))


def test_parts_through_the_service_into_the_store(s3: S3, remote: Settings) -> None:
    content = os.urandom(12 * MIB + 3)
    settings = remote.model_copy(update={"upload_part_bytes": 5 * MIB, "presign_s": 0})
    with serve(settings) as address, httpx.Client(base_url=address, timeout=30) as api:
        upload = begin(api, content)
        for part in upload["parts"]:
            assert part["url"] == f"/uploads/{upload['id']}/parts/{part['number']}"
            start = (part["number"] - 1) * 5 * MIB
            api.put(part["url"], content=content[start : start + part["size"]])
        assert api.post(f"/uploads/{upload['id']}/complete").status_code == 201
    assert any(hashlib.sha256(content).hexdigest() in key for key in listed(s3))


@pytest.mark.parametrize("size", [0, 1, 5 * MIB])
def test_small_files_in_parts(s3: S3, in_parts: httpx.Client, size: int) -> None:
    content = os.urandom(size)
    upload = begin(in_parts, content)
    put_parts(upload, content)
    file = in_parts.post(f"/uploads/{upload['id']}/complete").json()
    got = in_parts.get(f"/files/{file['id']}/content", follow_redirects=True)
    assert got.content == content


def test_what_comes_for_an_upload_that_is_over_goes(
    s3: S3, remote: Settings, storage: ObjectStorage, in_parts: httpx.Client
) -> None:
    """An address outlives its upload."""
    content = os.urandom(5 * MIB + 1)
    given_up, open_ = begin(in_parts, content), begin(in_parts, content)
    put_parts(given_up, content)
    put_parts(open_, content, 2)
    in_parts.delete(f"/uploads/{given_up['id']}")
    assert not any(given_up["id"] in key for key in listed(s3))
    put_parts(given_up, content, 2)
    database = Database(remote.database)
    Janitor(
        database=database,
        storage=storage,
        cache=BlobCache(storage, remote.home, 0),
        home=remote.home,
        grace_s=3600,
        stray_grace_s=3600,
        walk_s=0,
    ).clean()
    database.close()
    assert storage.client_parts is not None
    assert storage.client_parts.uploads() == {open_["id"]}
