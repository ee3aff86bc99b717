"""HEAD answers what GET would, without the body (RFC 9110, section 9.3.2)."""

import socket
from urllib.parse import urlsplit

import httpx

from tests.api.helpers import Rows, job_body

OWN = {"date", "x-request-id", "transfer-encoding"}
"""Headers that differ from answer to answer, or belong to a body's way over the wire."""


def test_every_address_that_takes_get_takes_head(api: httpx.Client, rows: Rows) -> None:
    job = rows.job(state="succeeded")
    rows.artifact(job, "student.safetensors", b"weights")
    rows.artifact(job, "report.json", b"{}", kind="report", format="json")
    file = api.post("/files", content=b"bytes").json()["id"]
    ids = {
        "job_id": job,
        "file_id": file,
        "teacher_id": rows.teacher(),
        "dataset_id": rows.dataset(),
        "name": "report.json",
    }
    asked = 0
    for path, operations in api.get("/openapi.json").json()["paths"].items():
        if "get" not in operations or path == "/metrics":  # whose length changes by itself
            continue
        if any(one not in ids for one in names(path)):
            continue
        address = path.format(**ids)
        got, head = api.get(address), api.head(address)
        assert head.status_code == got.status_code, address
        assert visible(head) == visible(got), address
        assert head.content == b""
        asked += 1
    assert asked > 12


def test_problems_too(api: httpx.Client, rows: Rows) -> None:
    for address in ("/jobs/job_0", "/nowhere", "/jobs?limit=0"):
        got, head = api.get(address), api.head(address)
        assert got.status_code >= 400
        assert head.status_code == got.status_code
        assert visible(head) == visible(got)
    job = api.post("/jobs", json=job_body(rows)).json()["id"]
    assert api.head(f"/jobs/{job}/cancel").status_code == 405
    assert api.get(f"/jobs/{job}").json()["state"] == "queued", "nothing was done"


def test_no_byte_of_a_body_is_sent(address: str) -> None:
    """As a client sees that takes whatever comes."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), timeout=5) as connection:
        for path in ("/methods", "/jobs", "/nowhere"):
            request = f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"
            connection.sendall(request.encode())
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(65_536)
            assert answer.endswith(b"\r\n\r\n")
            assert b"content-length: 0" not in answer.lower()


def visible(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in OWN}


def names(path: str) -> list[str]:
    return [step[1:-1] for step in path.split("/") if step.startswith("{")]
