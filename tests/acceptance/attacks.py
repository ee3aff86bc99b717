"""How the rows of hostile inputs are sent: each attack is a function of a running service, and
gives the problem that it got."""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.acceptance.conftest import Service

Problem = dict[str, Any]
Attack = Callable[[Service], Problem]

NETWORK = {"family": "mlp", "inputs": 4, "hidden": [], "classes": 3}
JSON = {"Content-Type": "application/json"}


def problem_of(answer: httpx.Response) -> Problem:
    assert answer.headers["content-type"] == "application/problem+json", answer.text[:500]
    found = answer.json()
    assert found["status"] == answer.status_code
    return dict(found)


def request(method: str, path: str, **options: Any) -> Attack:
    """Any request; `{job}`, `{dataset}` and `{file}` in the path are the service's own."""
    return lambda service: problem_of(
        service.http.request(method, path.format(**service.ids), **options)
    )


def post(path: str, body: Any, **headers: str) -> Attack:
    """A JSON body, or bytes that are sent as one."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request("POST", path, content=content, headers={**JSON, **headers})


def teacher(make: Callable[[], bytes], name: str = "t.safetensors", **changes: Any) -> Attack:
    """Refused at once, or by the worker that checks it."""

    def attack(service: Service) -> Problem:
        file = service.upload(make(), name)
        body = {"name": "hostile", "file": file, "network": NETWORK, **changes}
        return _settled(service, "/teachers", body)

    return attack


def dataset(make: Callable[[], bytes], **source: str) -> Attack:
    def attack(service: Service) -> Problem:
        file = service.upload(make(), "data.bin")
        body = {"name": "hostile", "source": {"kind": "file", "file": file, **source}}
        return _settled(service, "/datasets", body)

    return attack


def uri(text: str) -> Attack:
    """`{outside}` is a web server that the service may read; `{inside}` the port of one that
    nobody may."""

    def attack(service: Service) -> Problem:
        source = {"kind": "uri", "uri": text.format(**service.ids)}
        return _settled(service, "/datasets", {"name": "hostile", "source": source})

    return attack


def _settled(service: Service, path: str, body: dict[str, Any]) -> Problem:
    answer = service.http.post(path, json=body)
    if answer.status_code != 202:
        return problem_of(answer)
    resource = service.checked(f"{path}/{answer.json()['id']}")
    assert resource["state"] == "rejected", resource
    service.http.delete(f"{path}/{resource['id']}").raise_for_status()
    return dict(resource["error"])


def raw(head: str, body: bytes = b"", *, half_closed: bool = True) -> Attack:
    """Bytes on a socket; what comes back until the server hangs up."""

    def attack(service: Service) -> Problem:
        with connected(service) as connection:
            connection.sendall(_lines(service, head) + body)
            if half_closed:
                connection.shutdown(socket.SHUT_WR)
            return _read_problem(connection)

    return attack


def trickled(head: str, rest: bytes, *, within_s: float, whole_head: bool = True) -> Attack:
    """The rest a byte at a time, far longer than the service's patience."""

    def attack(service: Service) -> Problem:
        def send() -> None:
            try:
                for byte in rest:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.05)
            except OSError:
                return

        began = time.monotonic()
        with connected(service) as connection:
            lines = _lines(service, head)
            connection.sendall(lines if whole_head else lines.removesuffix(b"\r\n"))
            sender = threading.Thread(target=send)
            sender.start()
            found = _read_problem(connection)
            assert time.monotonic() - began < within_s
            with suppress(OSError):  # the service may have cut the line altogether
                connection.shutdown(socket.SHUT_RDWR)
            sender.join()
        return found

    return attack


def connected(service: Service) -> socket.socket:
    parts = urlsplit(str(service.http.base_url))
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def _lines(service: Service, head: str) -> bytes:
    key = service.http.headers.get("authorization")
    lines = [*head.splitlines(), "Host: x", *([f"Authorization: {key}"] if key else []), "", ""]
    return "\r\n".join(lines).encode()


def _read_problem(connection: socket.socket) -> Problem:
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
            head, separator, body = answer.partition(b"\r\n\r\n")
            if separator and b"}" in body:
                break
    except ConnectionResetError:
        pass
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head.lower(), answer[:500]
    found = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])
    assert int(head.split()[1]) == found["status"]
    return dict(found)
