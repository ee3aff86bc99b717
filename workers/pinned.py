"""Connections that cannot be led astray: a name is resolved once, and its address is the one used.

A name may resolve to an inner address, or to another one when it is asked again (DNS rebinding). So
the address that was checked is the address that is connected to, while Host and SNI keep the name.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore

from app.outside.addresses import Address

IDLE_S = 30.0
"""The longest wait for the other side, where no shorter one is asked for."""

Resolver = Callable[[str, int], Sequence[str]]
"""The addresses of a name. Raises OSError."""

TRANSIENT = (
    OSError,
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
)
"""What goes wrong on the way, and may not the next time."""


def resolve(host: str, port: int) -> list[str]:
    """As the machine does it: /etc/hosts, then its name server."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def seconds_from_now(seconds: float) -> float:
    """A deadline."""
    return time.monotonic() + seconds


class Pinned(httpcore.NetworkBackend):
    """Asks for a name's addresses once, checks all of them, and connects to one of these.

    `check` raises Refused for an address that nobody may reach by that name. The deadline, which
    may be moved, is of all waiting together.
    """

    def __init__(
        self, check: Callable[[Address, str], None], resolver: Resolver, deadline: float
    ) -> None:
        self._check = check
        self._resolve = resolver
        self._sockets = httpcore.SyncBackend()
        self.deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        found = [address.partition("%")[0] for address in self._resolve(host, port)]
        # One bad address among good ones is how a rebinding name looks.
        for address in found:
            self._check(ipaddress.ip_address(address), host)
        error: Exception = OSError(f"{host} has no address")
        for address in found:
            try:
                return _Timed(
                    self._sockets.connect_tcp(address, port, self.left(timeout)), self.left
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        raise error

    def left(self, timeout: float | None) -> float:
        """Seconds that the next step may take. Raises ReadTimeout when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("too slow an answer")
        return min(left, IDLE_S if timeout is None else timeout)


class _Timed(httpcore.NetworkStream):
    """A stream with an end to all its waiting together, not only to each wait."""

    def __init__(
        self, inner: httpcore.NetworkStream, left: Callable[[float | None], float]
    ) -> None:
        self._inner = inner
        self._left = left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self._inner.start_tls(ssl_context, server_hostname, self._left(timeout))
        return _Timed(secured, self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def header(answer: httpcore.Response, name: bytes) -> str:
    """The first of that name, which is in lower case; empty where there is none."""
    for key, value in answer.headers:
        if key.lower() == name:
            return bytes(value).decode("latin-1").strip()
    return ""
