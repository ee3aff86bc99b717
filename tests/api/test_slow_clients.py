"""Row 26 of the hostile inputs: clients that trickle, stop, or read nothing, on real sockets."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from app.migrate import upgrade
from app.settings import MIB, Settings
from tests.api.helpers import serve

HEAD_S = 1.0
WINDOW_S = 1.5
RATE = 20_000
SLACK_S = 2.5


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An impatient service: a second for headers, 20 kB/s in windows of 1.5 s for bodies."""
    settings = Settings(
        home=tmp_path_factory.mktemp("home"),
        header_timeout_s=HEAD_S,
        body_window_s=WINDOW_S,
        body_min_rate=RATE,
    )
    upgrade(settings)
    with serve(settings) as address:
        yield address


@pytest.fixture(autouse=True)
def healthy(address: str) -> Iterator[None]:
    yield
    assert httpx.get(f"{address}/healthz").is_success


@contextlib.contextmanager
def connected(address: str, **options: int) -> Iterator[socket.socket]:
    parts = urlsplit(address)
    with socket.socket() as connection:
        for name, value in options.items():
            connection.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        connection.settimeout(20)
        connection.connect((parts.hostname, parts.port))
        yield connection


def trickle(connection: socket.socket, data: bytes, pause_s: float) -> float:
    """Sends a byte at a time until it is all sent, or nobody listens; the seconds it took."""
    began = time.monotonic()
    with contextlib.suppress(OSError):
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(pause_s)
    return time.monotonic() - began


def answer(connection: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            found += part
    return found


def problem(found: bytes) -> dict[str, object]:
    head, _, body = found.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    return dict(json.loads(body))


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\r\n",
        b"G",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ",
    ],
)
def test_a_head_that_stops_is_hung_up_on(address: str, start: bytes) -> None:
    began = time.monotonic()
    with connected(address) as connection:
        connection.sendall(start)
        found = answer(connection)
    assert HEAD_S * 0.9 < time.monotonic() - began < HEAD_S + SLACK_S
    if start.strip():
        assert found.startswith(b"HTTP/1.1 408 ")
        assert problem(found)["code"] == "request_timeout"
    else:
        assert found == b""


def test_a_head_that_trickles_is_hung_up_on(address: str) -> None:
    with connected(address) as connection:
        took = trickle(connection, b"GET /healthz HTTP/1.1\r\n" + b"X-Slow: 1\r\n" * 100, 0.05)
    assert took < HEAD_S + SLACK_S


def test_the_next_request_on_a_connection_is_timed_too(address: str) -> None:
    with connected(address) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        time.sleep(HEAD_S * 1.5)  # idle between two requests is no crime
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        connection.sendall(b"GET /heal")
        assert problem(answer(connection))["code"] == "request_timeout"
        assert time.monotonic() - began < HEAD_S + SLACK_S
    with connected(address) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        took = trickle(connection, b"\r\n" * 200, 0.05)
        assert took < HEAD_S + SLACK_S


@pytest.mark.parametrize("path", ["/jobs", "/files"])
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_trickles_is_408(address: str, path: str, announced: bool) -> None:
    framing = "Content-Length: 1000000" if announced else "Transfer-Encoding: chunked"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
    body = b"{" + b" " * 5000 if announced else b"1\r\n \r\n" * 2000
    began = time.monotonic()
    with connected(address) as connection:
        connection.sendall(head.encode())
        sender = threading.Thread(target=trickle, args=(connection, body, 0.01))
        sender.start()
        found = connection.recv(65536)
        assert time.monotonic() - began < WINDOW_S + SLACK_S
        assert found.startswith(b"HTTP/1.1 408 ")
        assert b"request_timeout" in found
        sender.join()
    assert time.monotonic() - began < WINDOW_S + SLACK_S


def test_a_body_that_stops_is_408(address: str, tmp_path: Path) -> None:
    head = b"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
    began = time.monotonic()
    with connected(address) as connection:
        connection.sendall(head + bytes(2 * MIB))
        found = connection.recv(65536)
    assert found.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 2 * WINDOW_S + SLACK_S


def test_a_body_that_nobody_reads_holds_no_connection(address: str) -> None:
    """The answer is given from the head alone; the rest would come for hours."""
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    began = time.monotonic()
    with connected(address) as connection:
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        trickle(connection, b" " * 1000, 0.02)
    assert time.monotonic() - began < HEAD_S + SLACK_S


def test_a_slow_but_honest_upload_goes_through(address: str) -> None:
    """Far longer than any window, at thrice the least rate, with a pause in between."""
    content = bytes(range(256)) * 1600

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(content), 16384):
            yield content[start : start + 16384]
            time.sleep(1.0 if start == 16384 * 10 else 0.25)

    began = time.monotonic()
    made = httpx.post(f"{address}/files", content=pieces(), timeout=30)
    assert made.status_code == 201, made.text
    assert made.json()["size"] == len(content)
    assert time.monotonic() - began > 4 * WINDOW_S


def test_a_download_that_is_not_read_is_hung_up_on(address: str) -> None:
    size = 64 * MIB
    made = httpx.post(f"{address}/files", content=bytes(size), timeout=60).json()
    request = f"GET /files/{made['id']}/content HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with connected(address, SO_RCVBUF=65536) as connection:
        connection.sendall(request)
        time.sleep(2 * WINDOW_S + 1)
        assert len(answer(connection)) < size
    with connected(address, SO_RCVBUF=65536) as connection:  # slow, but reading
        connection.sendall(request)
        read, until = 0, time.monotonic() + 4 * WINDOW_S
        while time.monotonic() < until:
            read += len(connection.recv(16384))
            time.sleep(0.2)
        while part := connection.recv(MIB):
            read += len(part)
            if read >= size:
                break
        assert read >= size


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /healthz HTTP/1.1\r\nX-A: " + b"a" * 2 * MIB,
        b"GET /healthz HTTP/1.1\r\n" + b"X-A: b\r\n" * 300_000,
        b"GET /" + b"a" * 2 * MIB,
        b"POST /files HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"e" * 2 * MIB,
        b"POST /files HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n" + b"X-Trailer: 1\r\n" * 200_000,
    ],
    ids=["value", "many", "target", "chunk extension", "trailers"],
)
def test_endless_headers_are_431(address: str, flood: bytes) -> None:
    with connected(address) as connection:
        found = b""
        with contextlib.suppress(OSError):
            connection.sendall(flood)
        with contextlib.suppress(OSError):
            found = answer(connection)
    # A server that stops reading resets the connection: the answer may be lost on the way.
    assert found == b"" or found.startswith(b"HTTP/1.1 431 ")


def test_what_is_not_http_is_a_problem(address: str) -> None:
    with connected(address) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        found = answer(connection)
    assert found.startswith(b"HTTP/1.1 400 ")
    assert problem(found)["code"] == "malformed_http"
