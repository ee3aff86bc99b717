import errno
import hashlib
import os
import shutil
import socket
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from app.settings import MIB, Settings
from tests.api.helpers import assert_problem, serve, upload


def blobs(settings: Settings) -> list[Path]:
    return [path for path in (settings.home / "artifacts").rglob("*") if path.is_file()]


def digest(content: bytes) -> str:
    return f"sha-256=:{b64encode(hashlib.sha256(content).digest()).decode()}:"


def test_what_went_in_comes_out(api: httpx.Client) -> None:
    content = os.urandom(5 * MIB + 17)
    made = api.post(
        "/files",
        content=content,
        headers={"X-Filename": "weights.bin", "Content-Digest": digest(content)},
    )
    assert made.status_code == 201
    file = made.json()
    assert file["filename"] == "weights.bin"
    assert file["size"] == len(content)
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert made.headers["location"] == f"/files/{file['id']}"
    assert api.get(f"/files/{file['id']}").json() == file

    got = api.get(f"/files/{file['id']}/content")
    assert got.content == content
    assert got.headers["etag"] == f'"{file["sha256"]}"'
    assert got.headers["content-digest"] == digest(content)
    assert got.headers["accept-ranges"] == "bytes"
    assert "weights.bin" in got.headers["content-disposition"]


def test_an_empty_file_is_a_file(api: httpx.Client) -> None:
    file_id = upload(api, b"")
    assert api.get(f"/files/{file_id}/content").content == b""
    assert_problem(
        api.get(f"/files/{file_id}/content", headers={"Range": "bytes=0-"}),
        416,
        "range_not_satisfiable",
    )


def test_the_same_bytes_are_stored_once(api: httpx.Client, settings: Settings) -> None:
    first, second = upload(api, b"same", "a"), upload(api, b"same", "b")
    assert first != second
    assert len(blobs(settings)) == 1


@pytest.mark.parametrize(
    ("asked", "expected", "content_range"),
    [
        ("bytes=2-5", b"2345", "bytes 2-5/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-99", b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
        ("bytes=0-0", b"0", "bytes 0-0/10"),
    ],
)
def test_a_range(api: httpx.Client, asked: str, expected: bytes, content_range: str) -> None:
    url = f"/files/{upload(api, b'0123456789')}/content"
    got = api.get(url, headers={"Range": asked})
    assert (got.status_code, got.content) == (206, expected)
    assert got.headers["content-range"] == content_range
    assert "content-digest" not in got.headers


@pytest.mark.parametrize(
    "asked",
    ["bytes=5-2", "bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes=-", f"bytes={'9' * 5000}-"],
)
def test_a_range_that_is_none_gives_everything(api: httpx.Client, asked: str) -> None:
    url = f"/files/{upload(api, b'0123456789')}/content"
    got = api.get(url, headers={"Range": asked})
    assert (got.status_code, got.content) == (200, b"0123456789")


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_beyond_the_end(api: httpx.Client, asked: str) -> None:
    got = api.get(f"/files/{upload(api, b'0123456789')}/content", headers={"Range": asked})
    assert_problem(got, 416, "range_not_satisfiable")
    assert got.headers["content-range"] == "bytes */10"


def test_conditions(api: httpx.Client) -> None:
    url = f"/files/{upload(api, b'0123456789')}/content"
    etag = api.head(url).headers["etag"]
    assert api.get(url, headers={"If-None-Match": etag}).status_code == 304
    assert api.get(url, headers={"If-None-Match": f'"x", W/{etag}'}).status_code == 304
    assert api.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    part = {"Range": "bytes=0-1"}
    assert api.get(url, headers={**part, "If-Range": etag}).status_code == 206
    assert api.get(url, headers={**part, "If-Range": '"other"'}).status_code == 200


def test_head_tells_without_sending(api: httpx.Client) -> None:
    got = api.head(f"/files/{upload(api, b'0123456789')}/content")
    assert (got.status_code, got.content) == (200, b"")
    assert got.headers["content-length"] == "10"


def test_a_checksum_mismatch_keeps_nothing(api: httpx.Client, settings: Settings) -> None:
    answer = api.post("/files", content=b"sent", headers={"Content-Digest": digest(b"meant")})
    assert_problem(answer, 422, "checksum_mismatch")
    assert blobs(settings) == []


def test_a_digest_that_is_none(api: httpx.Client) -> None:
    answer = api.post("/files", content=b"x", headers={"Content-Digest": "sha-256=:AAAA:"})
    assert_problem(answer, 400, "invalid_digest")
    latin = api.post("/files", content=b"x", headers={"Content-Digest": b"sha-256=:\xe9:"})
    assert_problem(latin, 400, "invalid_digest")
    other = api.post("/files", content=b"x", headers={"Content-Digest": "md5=:AAAA:"})
    assert other.status_code == 201


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "%2e%2e",
        "..",
        ".",
        "/etc/passwd",
        "a/b",
        "a%2Fb",
        "a\\b",
        "a%00b",
        "%0d%0a",
        "x" * 256,
        "%ff",
    ],
)
def test_a_name_is_never_a_path(api: httpx.Client, settings: Settings, name: str) -> None:
    answer = api.post("/files", content=b"x", headers={"X-Filename": name})
    assert_problem(answer, 422, "invalid_filename", "/header/X-Filename")
    assert blobs(settings) == []


@pytest.mark.parametrize(
    ("sent", "kept"), [(b"caf%C3%A9.npz", "café.npz"), ("café.npz".encode(), "café.npz")]
)
def test_names_in_any_language(api: httpx.Client, sent: bytes, kept: str) -> None:
    made = api.post("/files", content=b"x", headers={b"X-Filename": sent})
    assert made.json()["filename"] == kept


def test_a_form_is_refused(api: httpx.Client) -> None:
    answer = api.post("/files", files={"file": b"x"})
    assert_problem(answer, 415, "multipart_not_accepted")


def test_idempotency(api: httpx.Client) -> None:
    headers = {"Idempotency-Key": "k", "X-Filename": "a"}
    first = api.post("/files", content=b"x", headers=headers)
    again = api.post("/files", content=b"x", headers=headers)
    assert again.json() == first.json()
    assert again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    for other in (
        api.post("/files", content=b"y", headers=headers),
        api.post("/files", content=b"x", headers={**headers, "X-Filename": "b"}),
    ):
        assert_problem(other, 422, "idempotency_key_reused")


def test_three_uploads_at_once(api: httpx.Client, address: str) -> None:
    contents = [os.urandom(6 * MIB) for _ in range(3)]
    together = threading.Barrier(3)

    def send(content: bytes) -> str:
        def slowly():
            together.wait()
            for start in range(0, len(content), MIB):
                yield content[start : start + MIB]

        return httpx.post(f"{address}/files", content=slowly(), timeout=60).json()["id"]

    with ThreadPoolExecutor(3) as pool:
        ids = list(pool.map(send, contents))
    for file_id, content in zip(ids, contents, strict=True):
        assert api.get(f"/files/{file_id}/content").content == content


def test_an_upload_that_breaks_off_leaves_nothing(
    api: httpx.Client, address: str, settings: Settings
) -> None:
    def broken():
        yield b"x" * MIB
        raise ConnectionError

    with pytest.raises(ConnectionError):
        httpx.post(f"{address}/files", content=broken())
    upload(api, b"whole")
    for _ in range(100):
        if len(blobs(settings)) == 1:
            break
        threading.Event().wait(0.02)
    assert len(blobs(settings)) == 1


def test_a_full_disk(
    api: httpx.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("app.storage.BlobWriter.write", full)
    answer = api.post("/files", content=b"x" * MIB)
    assert assert_problem(answer, 507, "insufficient_storage")["retryable"]
    assert blobs(settings) == []


def test_an_upload_that_cannot_fit_is_refused_before_it_is_sent(settings: Settings) -> None:
    """By its announced length, while the client still waits for leave to send."""
    tight = settings.model_copy(
        update={"min_free_bytes": shutil.disk_usage(settings.home).free - 1024 * MIB}
    )
    with serve(tight) as address:
        place = urlsplit(address)
        with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
            connection.sendall(
                f"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: {2048 * MIB}\r\n"
                "Content-Type: application/octet-stream\r\n\r\n".encode()
            )
            answer = connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 507 ")
        assert b"insufficient_storage" in answer
        assert httpx.post(f"{address}/files", content=b"x" * MIB).status_code == 201
    assert len(blobs(settings)) == 1


def test_a_list_of_files(api: httpx.Client) -> None:
    first, second, third = upload(api, b"a", "1"), upload(api, b"b", "2"), upload(api, b"a", "3")
    page = api.get("/files?limit=2").json()
    assert [file["id"] for file in page["data"]] == [third, second]
    rest = api.get(f"/files?limit=2&cursor={page['next_cursor']}").json()
    assert [file["id"] for file in rest["data"]] == [first]
    same = api.get(f"/files?sha256={hashlib.sha256(b'a').hexdigest()}").json()["data"]
    assert [file["filename"] for file in same] == ["3", "1"]
    assert_problem(api.get("/files?sha256=x"), 422, "validation_failed", "/query/sha256")


def test_unknown_files(api: httpx.Client) -> None:
    for path in ("/files/file_0", "/files/file_0/content"):
        assert_problem(api.get(path), 404, "file_not_found")
    for path in ("/files/nonsense", "/files/file_%00", "/files/..%2f"):
        assert_problem(api.get(path), 404, "not_found")
