"""Around every request: its id, and limits on its body."""

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import Awaitable, Callable

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Problem, RequestTimeout, TooLarge, UnsupportedMedia
from app.http.problems import problem_response
from app.settings import MIB, Settings

log = structlog.get_logger("stillhouse.requests")

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")

_STREAMED = re.compile(r"POST /files|PUT /uploads/[^/]+/parts/[^/]+")
"""The bodies that are bytes, not JSON."""

# A client that is still sending reads no answer: after a refusal, so much more is taken from it.
DRAIN_BYTES = 64 * MIB
DRAIN_SECONDS = 5.0


class RequestIds:
    """Gives each request an id, the client's own where it sent one, returns it, and logs how the
    request went."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        began = time.perf_counter()
        status = 500

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, with_id)
        finally:
            _log(scope, status, time.perf_counter() - began)
            structlog.contextvars.clear_contextvars()


def _log(scope: Scope, status: int, seconds: float) -> None:
    """Clients that poll would fill the log with what went well."""
    read = scope["method"] in ("GET", "HEAD", "OPTIONS")
    level = "error" if status >= 500 else "debug" if read and status < 400 else "info"
    getattr(log, level)(
        "request",
        method=scope["method"],
        path=scope["path"],
        status=status,
        ms=round(1000 * seconds, 1),
    )


class BodyLimits:
    """Refuses encoded bodies, bodies over the cap, by Content-Length and by what arrives, and
    bodies that trickle.

    A JSON body is read here, whole, so that nothing behind meets one that is too long; the stream
    of an upload is counted on its way.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return await self.app(scope, receive, send)
        streamed = _STREAMED.fullmatch(f"{scope['method']} {scope['path']}") is not None
        limit = self.settings.max_file_bytes if streamed else self.settings.max_json_bytes
        hurried = _hurried(receive, self.settings.body_window_s, self.settings.body_min_rate)
        try:
            _check_headers(Headers(scope=scope), limit)
            body = _counted(hurried, limit) if streamed else await _read_whole(hurried, limit)
            await self.app(scope, body, send)
        except _Refusal as refusal:
            await refuse(refusal.problem, scope, receive, send)


class _Refusal(Exception):
    """Passes every handler inside, so that the answer is given here."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def _check_headers(headers: Headers, limit: int) -> None:
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _Refusal(
            UnsupportedMedia(
                "content_encoding", "Send the body as it is, without a Content-Encoding."
            )
        )
    if int(headers.get("content-length", "0")) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> _Refusal:
    return _Refusal(TooLarge("body_too_large", f"The body is larger than {limit:,} bytes."))


def _hurried(receive: Receive, window_s: float, min_rate: int) -> Receive:
    """Refuses a body of which fewer than `min_rate` bytes a second came in a window of waiting.

    What counts is the time that the server waits for the client: storage may be slow too, and no
    upload is too long that goes on.
    """
    waited = 0.0
    arrived = 0
    over = False

    async def hurried() -> Message:
        nonlocal waited, arrived, over
        if over:  # from here on it is the client who waits
            return await receive()
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(max(window_s - waited, 0)):
                    message = await receive()
            except TimeoutError:
                message = None
            waited += time.monotonic() - began
            if message is not None:
                arrived += len(message.get("body", b""))
                over = message["type"] != "http.request" or not message.get("more_body")
            if waited >= window_s:
                if not over and arrived < min_rate * window_s:
                    raise _too_slow(min_rate, window_s)
                waited, arrived = 0.0, 0
            if message is not None:
                return message

    return hurried


def _too_slow(min_rate: int, window_s: float) -> _Refusal:
    return _Refusal(
        RequestTimeout(
            "request_timeout",
            f"Fewer than {min_rate:,} bytes a second arrived for {window_s:g} s.",
            retryable=True,
        )
    )


def _counted(receive: Receive, limit: int) -> Receive:
    left = limit

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _too_large(limit)
        return message

    return counted


async def _read_whole(receive: Receive, limit: int) -> Receive:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return _replay(message, receive)
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return _replay({"type": "http.request", "body": b"".join(chunks)}, receive)


def _replay(first: Message, receive: Receive) -> Callable[[], Awaitable[Message]]:
    waiting = [first]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers, takes some of what is still coming so that the answer is seen, and hangs up."""
    response = problem_response(problem, scope["state"]["request_id"])
    headers = Headers(scope=scope)
    if "content-length" not in headers and "transfer-encoding" not in headers:
        await response(scope, receive, send)  # nothing is coming
        return
    response.headers["Connection"] = "close"
    await send(
        {"type": "http.response.start", "status": problem.status, "headers": response.raw_headers}
    )
    await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
    # What trickles needs no draining, and would never end.
    drain_s = 0.0 if isinstance(problem, RequestTimeout) else DRAIN_SECONDS
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(drain_s):
            left = DRAIN_BYTES
            while left > 0 and (message := await receive()).get("more_body"):
                left -= len(message.get("body", b""))
    await send({"type": "http.response.body", "body": b"", "more_body": False})
