"""A bad line: an HTTP server that passes requests on to the real service, and spoils some."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx

HOP = {"transfer-encoding", "connection", "date", "server", "content-length"}


@dataclass
class Seen:
    """A request that came along, and how many bytes of an answer went back."""

    method: str
    path: str
    headers: dict[str, str]
    sent: int = 0


Fault = Callable[["_Handler"], None]


@dataclass
class Line:
    """`spoil` names what happens to the next requests; the others pass."""

    target: str
    seen: list[Seen] = field(default_factory=list)
    _faults: list[tuple[str, str, Fault]] = field(default_factory=list)

    def spoil(self, method: str, part: str, *faults: Fault) -> None:
        """The next requests of this method with `part` in their address, one fault each."""
        self._faults += [(method, part, fault) for fault in faults]

    def next_fault(self, method: str, path: str) -> Fault | None:
        for position, (of, part, fault) in enumerate(self._faults):
            if of == method and part in path:
                del self._faults[position]
                return fault
        return None

    def asked(self, method: str, part: str) -> list[Seen]:
        return [one for one in self.seen if one.method == method and part in one.path]

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.line = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self) -> None:
        self.line: Line = self.server.line  # type: ignore[attr-defined]
        size = int(self.headers.get("content-length", "0"))
        self.body = self.rfile.read(size)
        self.noted = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        self.line.seen.append(self.noted)
        (self.line.next_fault(self.command, self.path) or passed)(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def forwarded(self) -> httpx.Response:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in {*HOP, "host"}}
        return httpx.request(
            self.command,
            self.line.target + self.path,
            headers=headers,
            content=self.body,
            timeout=60,
        )

    def give(
        self, status: int, headers: dict[str, str], content: bytes, *, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in HOP:
                self.send_header(name, value)
        length = headers.get("content-length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.noted.sent = len(content[:cut])  # before the client can look
            self.wfile.write(content[:cut])
        if cut is not None:
            self.hang_up()

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True


def passed(handler: _Handler) -> None:
    response = handler.forwarded()
    handler.give(response.status_code, dict(response.headers), response.content)


def cut(after: int) -> Fault:
    """The connection ends after so many bytes of the answer."""

    def fault(handler: _Handler) -> None:
        response = handler.forwarded()
        handler.give(response.status_code, dict(response.headers), response.content, cut=after)

    return fault


def swallowed(handler: _Handler) -> None:
    """The service hears the request, and its answer is lost."""
    handler.forwarded()
    handler.hang_up()


def garbled(handler: _Handler) -> None:
    """A byte of the request is another one."""
    content = bytearray(handler.body)
    content[len(content) // 2] ^= 1
    handler.body = bytes(content)
    passed(handler)


def changed(handler: _Handler) -> None:
    """A byte of the answer is another one."""
    response = handler.forwarded()
    content = bytearray(response.content)
    content[len(content) // 2] ^= 1
    handler.give(response.status_code, dict(response.headers), bytes(content))


def refused(status: int, code: str = "busy", **headers: Any) -> Fault:
    """A problem that the service did not make."""

    def fault(handler: _Handler) -> None:
        problem = {"status": status, "code": code, "detail": "Not now.", "retryable": True}
        given = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        given["content-type"] = "application/problem+json"
        handler.give(status, given, json.dumps(problem).encode())

    return fault


def page(status: int) -> Fault:
    """What a proxy answers when the service is away."""

    def fault(handler: _Handler) -> None:
        handler.give(status, {"content-type": "text/html"}, b"<h1>Bad Gateway</h1>")

    return fault
