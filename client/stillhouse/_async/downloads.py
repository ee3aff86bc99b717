"""Downloads that go on where they broke off, and end with the very bytes announced."""

from __future__ import annotations

import errno
from contextlib import AsyncExitStack
from pathlib import Path

import httpx

from stillhouse import flow_async, wire
from stillhouse._async.transport import AsyncTransport, Params, passing
from stillhouse.errors import ChecksumMismatch, Problem, StillhouseError, UnexpectedAnswer
from stillhouse.localfiles import Partial, Progress, sha256_of
from stillhouse.retries import PASSING, retry_after

PLAIN = {"Accept-Encoding": "identity"}
REDIRECTS = (302, 303, 307, 308)
MADE_WITHIN_S = 900.0
"""How long a file is waited for that is made when it is asked for."""


async def download(
    transport: AsyncTransport,
    path: str,
    to: Path,
    *,
    params: Params | None = None,
    overwrite: bool = True,
    progress: Progress | None = None,
) -> Path:
    """Writes what lies at `path` to the file `to`, which is there in whole or not at all. Bytes
    that arrived before, in this process or another, are not asked for again. Raises
    ChecksumMismatch, or FileExistsError where another file is there and is to stay."""
    head = await _head(transport, path, params)
    etag = head.headers.get("etag", "")
    sha256, size = etag.strip('"'), int(head.headers.get("content-length", "0"))
    if len(sha256) != 64:
        raise UnexpectedAnswer(transport.url + path, "its ETag is no SHA-256")
    partial = Partial(to, sha256)
    if to.exists():
        if await flow_async.run(sha256_of, to) == sha256:
            return to
        if not overwrite:
            raise FileExistsError(errno.EEXIST, "another file is there", str(to))
    await _fill(transport, path, params, partial, size, progress)
    found = await flow_async.run(sha256_of, partial.path)
    if found != sha256:
        partial.discard()
        raise ChecksumMismatch(to.name, sha256, found)
    partial.finish()
    return to


async def _head(transport: AsyncTransport, path: str, params: Params | None) -> httpx.Response:
    """Once it is there: 202 says that it is being made."""
    try:
        waited = 0.0
        while True:
            head = await transport.send("HEAD", path, params=params, headers=PLAIN)
            if head.status_code != 202 or waited > MADE_WITHIN_S:
                return head
            pause = retry_after(head.headers.get("retry-after")) or 1.0
            await flow_async.sleep(pause)
            waited += pause
    except (Problem, UnexpectedAnswer):
        # A refusal of HEAD has no body that could say why; the same one of GET has.
        first_byte = {**PLAIN, "Range": "bytes=0-0"}
        await transport.send("GET", path, params=params, headers=first_byte)
        raise


async def _fill(
    transport: AsyncTransport,
    path: str,
    params: Params | None,
    partial: Partial,
    size: int,
    progress: Progress | None,
) -> None:
    """Until all of it is there. Attempts count from the last one that brought any bytes."""
    attempt, best = 1, partial.size
    if partial.size > size:
        partial.discard()
    while not partial.path.exists() or partial.size < size:
        wait: float | None = None
        try:
            await _append(transport, path, params, partial, size, progress)
            if partial.size < size:
                raise wire.cut_off(partial.size, size)
        except (httpx.TransportError, StillhouseError) as error:
            failure: Exception = error
            if isinstance(error, httpx.TransportError):
                failure = wire.cut_off(partial.size, size)
            if isinstance(error, Problem):
                wait = error.retry_after
            if partial.size > best:
                attempt, best = 1, partial.size
            pause = transport.retries.pause(attempt, wait) if _may_pass(error) else None
            if pause is None:
                raise failure from error
            await flow_async.sleep(pause)
            attempt += 1


async def _append(
    transport: AsyncTransport,
    path: str,
    params: Params | None,
    partial: Partial,
    size: int,
    progress: Progress | None,
) -> None:
    start = partial.size
    ranged = {**PLAIN, "Range": f"bytes={start}-"} if start else PLAIN
    async with AsyncExitStack() as stack:
        response = await stack.enter_async_context(
            transport.open(
                path,
                params=params,
                headers={**ranged, **({"If-Range": f'"{partial.sha256}"'} if start else {})},
            )
        )
        if response.status_code in REDIRECTS:
            # The object store knows other ETags: the hash at the end tells what If-Range would.
            there = response.headers["location"]
            response = await stack.enter_async_context(transport.open(there, headers=ranged))
        if response.status_code == 200:
            start = 0
        file = partial.open(start)
        stack.callback(file.close)
        done = start
        async for chunk in response.aiter_raw():  # not of one size: a break would lose the last
            file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, size)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, httpx.TransportError):
        return passing(error)
    return not isinstance(error, Problem) or error.status_code in PASSING
