"""How long requests take, for Prometheus: by the route's template, never by the address."""

import time

from prometheus_client import CollectorRegistry, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
NOWHERE = "none"
"""The label of requests that no route took."""


class Durations:
    """From the first byte of a request to the last of its answer, uploads and downloads too."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self.app = app
        self._seconds = Histogram(
            "stillhouse_http_request_duration_seconds",
            "Duration of requests to this process.",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=registry,
        )
        self._running = Gauge(
            "stillhouse_http_requests_running",
            "Requests that this process is answering.",
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        status = "500"

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        self._running.inc()
        began = time.perf_counter()
        try:
            await self.app(scope, receive, noting)
        finally:
            self._running.dec()
            method = scope["method"] if scope["method"] in METHODS else "OTHER"
            # The router leaves the route that it chose in the scope.
            route = getattr(scope.get("route"), "path", NOWHERE)
            self._seconds.labels(method, route, status).observe(time.perf_counter() - began)
