"""A client that does not give up: each request is repeated, under one key, until it is answered."""

import hashlib
import threading
import time
from collections import defaultdict
from contextlib import suppress
from typing import Any

import httpx

PATIENCE_S = 180.0
PAUSE_S = 0.2


class Refused(Exception):
    """A 4xx that is no matter of waiting; `answer` is the response."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.request.method} {answer.request.url}: {answer.text}")
        self.answer = answer


class Client:
    """Threads may share it. `made` holds, for each Idempotency-Key, every id it was answered."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=16)
        self.http = httpx.Client(base_url=url, timeout=15, limits=limits)
        self.made: dict[str, set[str]] = defaultdict(set)
        self.repeated = 0
        """Requests that had to be sent again."""
        self._lock = threading.Lock()

    def get(self, path: str) -> dict[str, Any]:
        return dict(self._insist("GET", path).json())

    def post(self, path: str, body: Any = None, *, key: str | None = None) -> dict[str, Any]:
        """Raises Refused."""
        headers = {"Idempotency-Key": key} if key else {}
        document = dict(self._insist("POST", path, json=body, headers=headers).json())
        if key:
            with self._lock:
                self.made[key].add(document["id"])
        return document

    def student_sha256(self, job: str) -> str:
        """Of the bytes as downloaded."""
        return hashlib.sha256(self._insist("GET", f"/jobs/{job}/student").content).hexdigest()

    def settled(self, path: str, seconds: float = 900) -> dict[str, Any]:
        """The resource, once nothing more is going to happen to it by itself."""
        until = time.monotonic() + seconds
        while True:
            resource = self.get(path)
            if resource.get("is_terminal") or resource["state"] in ("ready", "rejected", "paused"):
                return resource
            if time.monotonic() > until:
                raise TimeoutError(f"{path} is still {resource['state']}")
            time.sleep(0.5)

    def _insist(self, method: str, path: str, **options: Any) -> httpx.Response:
        until = time.monotonic() + PATIENCE_S
        while True:
            answer = None
            with suppress(httpx.TransportError):
                answer = self.http.request(method, path, **options)
                if answer.is_success:
                    return answer
                if answer.is_client_error and not _waits(answer):
                    raise Refused(answer)
            if time.monotonic() > until:
                raise TimeoutError(f"{method} {path}: {answer and answer.text}")
            with self._lock:
                self.repeated += 1
            time.sleep(PAUSE_S)

    def close(self) -> None:
        self.http.close()


def _waits(answer: httpx.Response) -> bool:
    """Whether the problem says that the same request may succeed later."""
    if answer.status_code == 429:
        return True
    with suppress(ValueError):
        return bool(answer.json().get("retryable"))
    return False
