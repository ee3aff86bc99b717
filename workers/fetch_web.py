"""Reading from the web. Each hop is checked, resolved once, and connected to just there (`pinned`).

A public server may redirect to an inner one: redirects are followed here, and checked like the
first uri. Nothing is sent but the path: no cookies, no credentials, no proxy, no environment.
"""

import ssl
from collections.abc import Callable, Iterator
from urllib.parse import urljoin

import httpcore

from app.outside.uri import Uri
from app.sources.policy import Policy
from app.spec.problems import Refused
from workers import pinned
from workers.pinned import IDLE_S, Pinned, Resolver, header, seconds_from_now

MAX_HOPS = 5
CONNECT_S = 10.0
HEAD_S = 30.0
"""From the first packet to the end of the answer's headers."""
REDIRECTS = {301, 302, 303, 307, 308}
PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Statuses that may be others a moment later."""
HEADERS = [("Accept", "*/*"), ("Accept-Encoding", "identity"), ("User-Agent", "stillhouse")]


class Passing(Exception):
    """An answer that says: later."""


TRANSIENT = (Passing, *pinned.TRANSIENT)


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
            deadline = min(self._deadline, seconds_from_now(HEAD_S))
            backend = Pinned(self._policy.check_address, self._resolve, deadline)
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
        location = header(answer, b"location")
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
    encoding = header(answer, b"content-encoding") or "identity"
    if encoding.lower() != "identity":
        raise Refused.invalid("source_encoded", f"{uri} answers in Content-Encoding {encoding!a}.")
    length = header(answer, b"content-length")
    if length.isascii() and length.isdigit():
        check_size(int(length[:20]))
