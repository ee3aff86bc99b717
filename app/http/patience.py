"""How long a connection may keep the server waiting: heads that trickle in, answers nobody reads.

Bodies are `app.http.middleware`'s business: only there is it known whether the server waits for
the client, or the client for the server.
"""

import asyncio
import contextlib
import fcntl
import struct
import sys
import termios
from typing import Any, ClassVar

from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.errors import MEDIA_TYPE, problem_document
from app.settings import Settings

MAX_HEAD_BYTES = 64 * 1024
"""Of a request's line and headers, or of a chunked body's own framing between two pieces."""


def patient(settings: Settings) -> type[HttpToolsProtocol]:
    """The protocol that a server with these settings speaks."""
    fields = {
        "head_s": settings.header_timeout_s,
        "window_s": settings.body_window_s,
        "min_rate": settings.body_min_rate,
    }
    return type("Patient", (PatientProtocol,), fields)


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with an end to what it would wait for or gather without one."""

    head_s: ClassVar[float] = 10.0
    """From a connection, or a request's first byte, to the end of its headers."""
    window_s: ClassVar[float] = 30.0
    min_rate: ClassVar[int] = 1024
    """Bytes per second of an answer that a client must take, over each window."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._framing = 0  # bytes since the last that meant something
        self._in_head = False
        self._in_message = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_stall_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._framing += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._framing > MAX_HEAD_BYTES:
            self._refuse(431, "headers_too_large", f"Headers are over {MAX_HEAD_BYTES:,} bytes.")
        elif self._idle and not self._in_message and self._head_timer is None:
            self._await_head()  # empty lines, which have just ended uvicorn's own patience

    @property
    def _idle(self) -> bool:
        """Whether every request so far has been answered."""
        return self.cycle is None or self.cycle.response_complete

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_message = self._in_head = True
        if self._head_timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_head_timer()
        self._framing = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._framing = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        self._framing = 0
        self._stop_head_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_message and self._head_timer is None and not self.transport.is_closing():
            # Nobody reads the rest of this body, so nobody minds how slowly it comes.
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "malformed_http", msg)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_timer is None:
            self._watch_reader(self._unread())

    def resume_writing(self) -> None:
        self._stop_stall_timer()
        super().resume_writing()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_s, self._head_late)

    def _head_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if not self._idle:
            self._await_head()  # a pipelined request's head: the answer before it goes first
        elif self._in_head:
            detail = f"The request did not arrive within {self.head_s:g} s."
            self._refuse(408, "request_timeout", detail, retryable=True)
        else:
            self.transport.close()  # silence from the start, or a body that was answered already

    def _watch_reader(self, unread: int) -> None:
        self._stall_timer = self.loop.call_later(self.window_s, self._reader_late, unread)

    def _reader_late(self, before: int) -> None:
        unread = self._unread()
        if before - unread < self.min_rate * self.window_s:
            # Not close(): that would wait for the client to read what it does not read.
            self.transport.abort()
        else:
            self._watch_reader(unread)

    def _unread(self) -> int:
        """Bytes of the answer that the client has not acknowledged."""
        waiting = self.transport.get_write_buffer_size()
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                descriptor = self.transport.get_extra_info("socket").fileno()
                found = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
                waiting += struct.unpack("i", found)[0]
        return waiting

    def _refuse(self, status: int, code: str, detail: str, *, retryable: bool = False) -> None:
        """A problem without the application, which has not seen this request."""
        body = to_json(problem_document(status, code, detail, retryable=retryable))
        head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close"
        if self._idle or not self.cycle.response_started:
            self.transport.write(STATUS_LINE[status] + head.encode() + b"\r\n\r\n" + body)
        self.transport.close()
