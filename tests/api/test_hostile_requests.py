"""The rows of hostile inputs that concern requests themselves, each sent for real."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.db import Database
from app.main import create_app
from app.settings import MIB, Settings
from app.tables import Dataset, Job, Teacher
from tests.api.helpers import JSON, Rows, assert_problem, job_body, serve

OPERATIONS = [
    f"{method.upper()} {path}"
    for path, operations in create_app(Settings()).openapi()["paths"].items()
    for method in operations
]


@pytest.fixture(autouse=True)
def unchanged(snapshot: Any, rows: Rows) -> Iterator[None]:
    """Whatever is sent: jobs, artifacts and health are as before."""
    job_id = rows.job(state="succeeded")
    rows.artifact(job_id, "student.safetensors", b"weights")
    before = snapshot()
    yield
    assert snapshot() == before


@pytest.mark.parametrize(
    ("literal", "code"),
    [
        (b"NaN", "not_finite"),
        (b"Infinity", "not_finite"),
        (b"-Infinity", "not_finite"),
        (b"1e999", "not_finite"),
        (rb'"\ud800"', "lone_surrogate"),
        (rb'"\udc00"', "lone_surrogate"),
        (rb'"\ud800\u0041"', "lone_surrogate"),
        (rb'"a\u0000b"', "nul_character"),
    ],
)
@pytest.mark.parametrize("path", ["/jobs", "/teachers", "/datasets"])
def test_row_21_values_that_are_none(
    api: httpx.Client, path: str, literal: bytes, code: str
) -> None:
    for body, pointer in (
        (b'{"name": %s}' % literal, "/name"),
        (b'{"a": [0, {"b/c": %s}]}' % literal, "/a/1/b~1c"),
    ):
        answer = api.post(path, content=body, headers=JSON)
        assert_problem(answer, 422, code, "" if code == "lone_surrogate" else pointer)


def test_row_21_in_a_key(api: httpx.Client) -> None:
    answer = api.post("/jobs", content=rb'{"a\u0000": 1}', headers=JSON)
    assert_problem(answer, 422, "nul_character")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"name": "a", "name": "b"}', "/name"),
        (b'{"name": "a", "name": "a"}', "/name"),
        (rb'{"name": "a", "n\u0061me": "b"}', "/name"),
        (b'{"a": [0, {"b/c": 1, "b/c": 1}]}', "/a/1/b~1c"),
        (b'{"a": {"x": 1, "x": 2}, "a": 1}', "/a"),
        (b"{" + b",".join(b'"k%d":1' % i for i in range(80_000)) + b',"k7":1}', "/k7"),
    ],
    ids=["other", "same", "escaped", "deep", "hidden", "many"],
)
def test_a_key_that_stands_twice(api: httpx.Client, body: bytes, pointer: str) -> None:
    """Whoever read the first of the two would see another request."""
    answer = api.post("/jobs", content=body, headers=JSON)
    assert_problem(answer, 422, "duplicate_key", pointer)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_query_parameters_that_are_none(api: httpx.Client, operation: str) -> None:
    """A misspelt filter must not look like one that matched everything."""
    method, path = operation.split()
    path = re.sub(r"{\w+}", "job_1", path)
    answer = api.request(method, f"{path}?nonsense=1&limit/x=2")
    body = assert_problem(answer, 422, "unknown_parameter", "/query/nonsense")
    assert "/query/limit~1x" in [error["pointer"] for error in body["errors"]]


def test_the_known_parameters_are_named(api: httpx.Client) -> None:
    body = assert_problem(api.get("/jobs?stat=running"), 422, "unknown_parameter")
    assert "state" in body["detail"]
    assert api.get("/jobs?state=running&label=a:b&limit=3").status_code == 200


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_row_22_depth(api: httpx.Client, opening: bytes) -> None:
    answer = api.post("/jobs", content=opening * 100_000, headers=JSON)
    assert_problem(answer, 400, "json_too_deep")


@pytest.mark.parametrize(
    "body", [b"{", b"{]", b"[1,]", b"\xff", b'{"name": "\xff"}', b"nonsense", b"{} {}", b"1" * 5000]
)
def test_what_is_not_json(api: httpx.Client, body: bytes) -> None:
    assert_problem(api.post("/jobs", content=body, headers=JSON), 400, "malformed_json")


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"1"])
def test_json_that_is_no_object(api: httpx.Client, body: bytes) -> None:
    answer = api.post("/jobs", content=body, headers=JSON)
    assert_problem(answer, 422, "validation_failed", "")


def test_json_must_say_so(api: httpx.Client) -> None:
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "nonsense",
    ):
        answer = api.post("/jobs", content=b"{}", headers={"Content-Type": kind})
        assert_problem(answer, 415, "not_json")
    assert_problem(httpx.post(f"{api.base_url}/jobs", content=b"{}"), 415, "not_json")


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "nonsense", "gzip, identity"])
@pytest.mark.parametrize("path", ["/files", "/jobs"])
def test_row_30_encodings(api: httpx.Client, path: str, encoding: str) -> None:
    headers = {**JSON, "Content-Encoding": encoding}
    assert_problem(api.post(path, content=b"{}", headers=headers), 415, "content_encoding")


def test_row_25_json_over_the_cap(api: httpx.Client) -> None:
    body = json.dumps({"name": "x" * 2 * MIB}).encode()
    assert_problem(api.post("/jobs", content=body, headers=JSON), 413, "body_too_large")

    def chunked() -> Iterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    assert_problem(api.post("/jobs", content=chunked(), headers=JSON), 413, "body_too_large")


def test_row_25_a_length_that_lies(address: str) -> None:
    announced = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for path, length in ((b"/jobs", 2**40), (b"/files", 2**62), (b"/healthz", 2**40)):
        answer = raw(address, announced % path + b"Content-Length: %d\r\n\r\n{" % length)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"body_too_large" in answer
    short = raw(address, announced % b"/jobs" + b'Content-Length: 3\r\n\r\n{"name": "much more"}')
    assert short.startswith(b"HTTP/1.1 400")
    absent = raw(address, announced % b"/jobs" + b'\r\n{"name": "x"}')
    assert absent.startswith((b"HTTP/1.1 400", b"HTTP/1.1 422"))
    for length in (b"-1", b"x", b"1, 2"):
        answer = raw(address, announced % b"/jobs" + b"Content-Length: " + length + b"\r\n\r\n{}")
        assert answer.startswith(b"HTTP/1.1 400")


def test_row_25_files_over_the_cap(settings: Settings) -> None:
    small = settings.model_copy(update={"max_file_bytes": 3 * MIB})
    with serve(small) as address, httpx.Client(base_url=address) as api:
        answer = api.post("/files", content=b"x" * (3 * MIB + 1))
        assert_problem(answer, 413, "body_too_large")

        def chunked() -> Iterator[bytes]:
            for _ in range(40):
                yield b"x" * MIB

        assert_problem(api.post("/files", content=chunked()), 413, "body_too_large")
        assert api.get("/healthz").status_code == 200
    incoming = settings.home / "artifacts" / "incoming"
    assert not incoming.exists() or not list(incoming.iterdir())


def test_row_27_a_checksum_mismatch(api: httpx.Client) -> None:
    wrong = {"Content-Digest": f"sha-256=:{'A' * 43}=:"}
    assert_problem(api.post("/files", content=b"x", headers=wrong), 422, "checksum_mismatch")


def test_row_28_a_key_with_another_body(api: httpx.Client, rows: Rows, database: Database) -> None:
    body, key = job_body(rows), {"Idempotency-Key": "k"}
    made = api.post("/jobs", json=body, headers=key).json()
    reused = api.post("/jobs", json={**body, "name": "x"}, headers=key)
    assert_problem(reused, 422, "idempotency_key_reused")
    with database.transaction() as session:
        for table, row_id in ((Job, made["id"]), (Teacher, body["teachers"][0])):
            session.delete(session.get(table, row_id))
        session.delete(session.get(Dataset, body["dataset"]))


def test_row_29_cancelling_what_has_ended(api: httpx.Client) -> None:
    job_id = api.get("/jobs").json()["data"][0]["id"]
    assert_problem(api.post(f"/jobs/{job_id}/cancel"), 409, "job_already_ended")


def test_addresses_and_methods_that_are_none(api: httpx.Client) -> None:
    for path in ("/nothing", "/jobs/", "/jobs/%00", "/jobs/job_%00", "/jobs/../../etc/passwd"):
        assert_problem(api.get(path), 404, "not_found")
    for method, path in (("DELETE", "/jobs"), ("PUT", "/files"), ("POST", "/healthz")):
        answer = api.request(method, path)
        assert_problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"]
    assert api.delete("/jobs").headers["allow"] == "GET, HEAD, POST"
    assert api.put("/files/file_1/content").headers["allow"] == "GET, HEAD"
    for query in ("label=a:%00", "state=%00", "cursor=%00", "created_after=%00"):
        assert api.get(f"/jobs?{query}").status_code in (400, 422)


def test_request_ids(api: httpx.Client) -> None:
    assert api.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for bad in ("a b", "x" * 129, "é".encode("latin-1")):
        made = api.get("/healthz", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert made.startswith("req_")


def test_many_broken_requests_at_once(api: httpx.Client, address: str) -> None:
    """Half a body, then silence or the end: the server goes on."""
    half = b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"

    def leave() -> None:
        parts = urlsplit(address)
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(half)

    threads = [threading.Thread(target=leave) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert api.get("/healthz").status_code == 200


def raw(address: str, request: bytes) -> bytes:
    """What comes back until the server has nothing more to say."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer
