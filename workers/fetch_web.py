"""HTTP that cannot be led astray: each hop is checked, resolved once, and connected to just there.

A name may resolve to an inner address, or to another one when asked again (DNS rebinding), and a
public server may redirect to an inner one. So the address that was checked is the address that is
connected to, while Host and SNI keep the name; redirects are followed here, and checked like the
first uri. Nothing is sent but the path: no cookies, no credentials, no proxy, no environment.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urljoin

import httpcore

from app.sources.policy import Policy
from app.sources.uri import Uri
from app.spec.problems import Refused

MAX_HOPS = 5
CONNECT_S = 10.0
HEAD_S = 30.0
"""From the first packet to the end of the answer's headers."""
IDLE_S = 30.0
"""Between two pieces of the body."""
REDIRECTS = {301, 302, 303, 307, 308}
PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Statuses that may be others a moment later."""
HEADERS = [("Accept", "*/*"), ("Accept-Encoding", "identity"), ("User-Agent", "stillhouse")]

Resolver = Callable[[str, int], Sequence[str]]
"""The addresses of a name. Raises OSError."""


class Passing(Exception):
    """An answer that says: later."""


TRANSIENT = (
    Passing,
    OSError,
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
)


def resolve(host: str, port: int) -> list[str]:
    """As the machine does it: /etc/hosts, then its name server."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Web:
    """Reads one uri in the name of one project."""

    def __init__(
        self,
        policy: Policy,
        project: str | None,
        resolver: Resolver,
        tls: ssl.SSLContext,
        deadline: float,
    ) -> None:
        self._policy = policy
        self._project = project
        self._resolve = resolver
        self._tls = tls
        self._deadline = deadline

    def read(self, uri: Uri, check_size: Callable[[int], None]) -> Iterator[bytes]:
        """The body in pieces.

        Raises Refused, what `check_size` raises of an announced length, and TRANSIENT.
        """
        for _ in range(MAX_HOPS):
            backend = _Pinned(self._policy, self._resolve, min(self._deadline, _in(HEAD_S)))
            with (
                httpcore.ConnectionPool(
                    ssl_context=self._tls, max_connections=1, network_backend=backend
                ) as pool,
                pool.stream(
                    "GET",
                    httpcore.URL(
                        scheme=uri.scheme, host=uri.host, port=uri.port, target=uri.target
                    ),
                    headers=HEADERS,
                    extensions={"timeout": {"connect": CONNECT_S, "read": IDLE_S}},
                ) as answer,
            ):
                if answer.status not in REDIRECTS:
                    backend.deadline = self._deadline
                    _check_answer(answer, uri, check_size)
                    yield from answer.iter_stream()
                    return
                uri = self._next(uri, answer)
        raise Refused.invalid("too_many_redirects", f"Over {MAX_HOPS - 1} redirects.")

    def _next(self, uri: Uri, answer: httpcore.Response) -> Uri:
        location = _header(answer, b"location")
        try:
            joined = urljoin(f"{uri}", location)
        except ValueError:
            joined = location
        try:
            after = self._policy.check(joined, self._project)
        except Refused as refused:
            raise Refused(
                refused.status,
                refused.code,
                refused.title,
                f"{uri} redirects to where nothing is read: {refused.detail}",
                refused.hint,
            ) from None
        if after.scheme not in ("https", uri.scheme):
            raise Refused.invalid(
                "insecure_redirect", f"{uri} redirects from {uri.scheme} to {after.scheme}."
            )
        return after


def _check_answer(answer: httpcore.Response, uri: Uri, check_size: Callable[[int], None]) -> None:
    if answer.status in PASSING:
        raise Passing(f"{uri} answers {answer.status}")
    if answer.status != 200:
        raise Refused.invalid("source_refused", f"{uri} answers {answer.status}.")
    encoding = _header(answer, b"content-encoding") or "identity"
    if encoding.lower() != "identity":
        raise Refused.invalid("source_encoded", f"{uri} answers in Content-Encoding {encoding!a}.")
    length = _header(answer, b"content-length")
    if length.isascii() and length.isdigit():
        check_size(int(length[:20]))


def _header(answer: httpcore.Response, name: bytes) -> str:
    for key, value in answer.headers:
        if key.lower() == name:
            return bytes(value).decode("latin-1").strip()
    return ""


def _in(seconds: float) -> float:
    return time.monotonic() + seconds


class _Pinned(httpcore.NetworkBackend):
    """Asks for a name's addresses once, checks all of them, and connects to one of these."""

    def __init__(self, policy: Policy, resolver: Resolver, deadline: float) -> None:
        self._policy = policy
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
            self._policy.check_address(ipaddress.ip_address(address), host)
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
