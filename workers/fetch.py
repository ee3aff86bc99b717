"""Fetches what a uri names, once, under limits: from the web or from an object store."""

import hashlib
import logging
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.errors import problem_document
from app.outside.uri import STORES, Uri
from app.sources.policy import Policy
from app.spec.problems import Refused
from workers import fetch_store, fetch_web, pinned
from workers.pinned import Resolver

PAUSES_S = (1.0, 4.0)
"""Before the second and the third try."""
WINDOW_S = 30.0
MIN_RATE = 16 * 1024
"""Bytes per second over each window: a worker that fetches is a worker that checks nothing else."""

log = logging.getLogger(__name__)


class Unreachable(Exception):
    """The other side did not give what it may give later."""


class Interrupted(Exception):
    """This worker is told to stop."""


@dataclass(frozen=True)
class Fetcher:
    """Reads from elsewhere what `policy` allows.

    `resolve` and `tls` take the place of the machine's name server and trusted authorities.
    """

    policy: Policy
    max_bytes: int
    timeout_s: float = 3600.0
    resolve: Resolver = pinned.resolve
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    window_s: float = WINDOW_S

    def fetch(
        self,
        text: str,
        path: Path,
        *,
        project: str | None = None,
        sha256: str | None = None,
        stopping: threading.Event,
    ) -> str:
        """Writes the bytes to `path` and returns their SHA-256.

        Raises Refused: 404 and 422 for a uri that may not be read or gives nothing, 413
        `source_too_large`, 422 `checksum_mismatch`; Unreachable after three tries; Interrupted;
        OSError when they cannot be written.
        """
        uri = self.policy.check(text, project)
        deadline = time.monotonic() + self.timeout_s
        for pause_s in (*PAUSES_S, None):
            try:
                found = self._save(self._read(uri, project, deadline), path, deadline, stopping)
                break
            except Unreachable as error:
                if pause_s is None or time.monotonic() + pause_s > deadline:
                    raise
                log.info("%s: %s; trying again in %.0f s", uri, error, pause_s)
                if stopping.wait(pause_s):
                    raise Interrupted from error
        if sha256 not in (None, found):
            raise Refused.invalid(
                "checksum_mismatch", f"What {uri} gives has SHA-256 {found}, not {sha256}."
            )
        return found

    def _read(self, uri: Uri, project: str | None, deadline: float) -> Iterator[bytes]:
        """The content in pieces; what either transport says is said in this module's words."""
        try:
            if uri.scheme in STORES:
                yield from fetch_store.read(uri, self.check_size)
            else:
                web = fetch_web.Web(self.policy, project, self.resolve, self.tls, deadline)
                yield from web.read(uri, self.check_size)
        except fetch_web.TRANSIENT as error:
            raise Unreachable(f"{type(error).__name__}: {error}"[:300]) from error

    def _save(
        self, pieces: Iterator[bytes], path: Path, deadline: float, stopping: threading.Event
    ) -> str:
        digest, size = hashlib.sha256(), 0
        since, before = time.monotonic(), 0
        with path.open("wb") as file:
            for piece in pieces:
                size += len(piece)
                self.check_size(size)
                file.write(piece)
                digest.update(piece)
                now = time.monotonic()
                if stopping.is_set():
                    raise Interrupted
                if now > deadline:
                    raise Unreachable(f"not read within {self.timeout_s:g} s")
                if now - since > self.window_s:
                    if size - before < MIN_RATE * (now - since):
                        raise Unreachable("the other side sends too slowly")
                    since, before = now, size
        return digest.hexdigest()

    def check_size(self, size: int) -> None:
        """Raises Refused 413 `source_too_large`."""
        if size > self.max_bytes:
            raise Refused.too_large(
                "source_too_large", f"The uri gives more than {self.max_bytes:,} bytes."
            )


def as_problem(error: Unreachable) -> dict[str, Any]:
    """What a dataset keeps of it; the same request may succeed later."""
    return problem_document(
        422, "source_unreachable", f"The uri could not be read: {error}.", retryable=True
    )
