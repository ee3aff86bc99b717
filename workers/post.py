"""One message to one webhook, signed and sent once (standardwebhooks.com).

Redirects are not followed: a public server could redirect to an inner one, and a moved receiver
should say so to its owner. Of the answer, status and headers are read and nothing more.
"""

import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpcore
from standardwebhooks import Webhook

from app.spec.problems import Refused
from app.webhooks.reach import Reach
from workers import pinned
from workers.pinned import Pinned, Resolver, header, seconds_from_now

TIMEOUT_S = 15.0
"""From the first packet to the answer's headers."""
MAX_PAUSE_S = 24 * 3600.0
"""That a receiver may ask for."""
GONE = 410


@dataclass(frozen=True)
class Parcel:
    """A message as it is to be sent."""

    id: str
    url: str
    body: str
    secrets: Sequence[str]
    """Those that sign it."""


@dataclass(frozen=True)
class Outcome:
    """What became of one try."""

    status: int | None
    error: str | None
    """Null where the message was taken."""
    seconds: float
    pause_s: float = 0.0
    """How long the receiver asks to be left alone."""


@dataclass(frozen=True)
class Post:
    """`resolve` and `tls` take the place of the machine's name server and trusted authorities."""

    reach: Reach
    timeout_s: float = TIMEOUT_S
    resolve: Resolver = pinned.resolve
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def send(self, parcel: Parcel) -> Outcome:
        """Never raises for what the other side does."""
        began = time.monotonic()
        status, pause_s, error = None, 0.0, None
        try:
            status, pause_s = self._send(parcel)
        except Refused as refused:
            error = refused.detail
        except pinned.TRANSIENT as failed:
            error = f"{type(failed).__name__}: {failed}"[:300]
        if status is not None and not 200 <= status < 300:
            error = f"answered {status}"
            if 300 <= status < 400:
                error += ", and redirects are not followed"
        return Outcome(status, error, round(time.monotonic() - began, 3), pause_s)

    def _send(self, parcel: Parcel) -> tuple[int, float]:
        uri = self.reach.check(parcel.url)  # the networks that are open may be others by now
        backend = Pinned(
            lambda address, _host: self.reach.check_address(address, uri),
            self.resolve,
            seconds_from_now(self.timeout_s),
        )
        with (
            httpcore.ConnectionPool(ssl_context=self.tls, network_backend=backend) as pool,
            pool.stream(
                "POST",
                httpcore.URL(scheme=uri.scheme, host=uri.host, port=uri.port, target=uri.target),
                headers=[("User-Agent", "stillhouse"), *_signed(parcel, datetime.now(UTC))],
                content=parcel.body.encode(),
            ) as answer,
        ):
            return answer.status, _pause(header(answer, b"retry-after"))


def _signed(parcel: Parcel, at: datetime) -> list[tuple[str, str]]:
    signatures = [Webhook(secret).sign(parcel.id, at, parcel.body) for secret in parcel.secrets]
    return [
        ("Content-Type", "application/json"),
        ("webhook-id", parcel.id),
        ("webhook-timestamp", str(int(at.timestamp()))),
        ("webhook-signature", " ".join(signatures)),
    ]


def _pause(retry_after: str) -> float:
    """Of Retry-After in seconds; its other form, a date, is for browsers."""
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after[:12]), MAX_PAUSE_S)
    return 0.0
