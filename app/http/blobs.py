"""Blobs in and out over HTTP, with flat memory and off the event loop."""

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from app.errors import Problem
from app.http.etags import matches
from app.settings import MIB
from app.storage import BlobWriter, Storage

BATCH = 2 * MIB
BYTES_PREFERRED = "return=representation"
"""What a script of a web page asks for (RFC 7240): its browser would not let it read a store's own
address."""

_POSITION = re.compile(r"[0-9]{1,19}")  # of a byte: 64 bits and no more
# Of its own, so that transfers and short requests do not wait for one another's threads.
_io = ThreadPoolExecutor(max_workers=8, thread_name_prefix="blobs")


class RangeNotSatisfiable(Problem):
    status = 416


async def receive(stream: AsyncIterator[bytes], writer: BlobWriter) -> None:
    """Writes and hashes one batch in a thread while the next one arrives."""
    loop = asyncio.get_running_loop()
    writing: asyncio.Future[None] = loop.create_future()
    writing.set_result(None)
    batch: list[bytes] = []
    waiting = 0
    try:
        async for chunk in stream:
            batch.append(chunk)
            waiting += len(chunk)
            if waiting >= BATCH:
                await writing
                writing = loop.run_in_executor(_io, _write, writer, batch)
                batch, waiting = [], 0
        await writing
        writing = loop.run_in_executor(_io, _write, writer, batch)
        await writing
    finally:
        # Whatever ends this early, the caller is about to close the file.
        await asyncio.wait([writing])


def _write(writer: BlobWriter, batch: list[bytes]) -> None:
    for chunk in batch:
        writer.write(chunk)


def blob_response(
    request: Request,
    storage: Storage,
    *,
    sha256: str,
    size: int,
    filename: str,
    media_type: str = "application/octet-stream",
    redirect: bool = True,
) -> Response:
    """A download: 200, 206 for one range, 304, or 416; 307 where the store can be asked directly,
    unless the client prefers the bytes. Its ETag is the SHA-256."""
    etag = f'"{sha256}"'
    digest = f"sha-256=:{b64encode(bytes.fromhex(sha256)).decode()}:"
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Repr-Digest": digest}
    if matches(request, etag):
        return Response(status_code=304, headers=headers)

    preferred = [one.strip() for one in request.headers.get("prefer", "").split(",")]
    here = not redirect or BYTES_PREFERRED in preferred
    if not here and request.method == "GET" and (address := storage.address(sha256)):
        # The store takes the Range. The address is as good as a key, for an hour.
        headers["Cache-Control"] = "private, no-store"
        return Response(status_code=307, headers={**headers, "Location": address})

    part = _requested_range(request, etag, size)
    start, end = part or (0, size)
    if part is None:
        headers["Content-Digest"] = digest
    else:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    # curl and older clients read only the plain form (RFC 6266, appendix D).
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", filename)
    headers["Content-Disposition"] = (
        f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
    )
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    chunks = iter(storage.read(sha256, start, end))
    first = next(chunks, b"")  # before the status is sent: a store that is away is a 503
    return StreamingResponse(_ahead(first, chunks), status, headers, media_type)


async def _ahead(chunk: bytes, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Reads the next chunk in a thread while this one is being sent."""
    loop = asyncio.get_running_loop()
    while chunk:
        coming = loop.run_in_executor(_io, next, chunks, b"")
        yield chunk
        chunk = await coming


def _requested_range(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """The half-open range asked for; None for all of it, which is also the answer to several
    ranges, to one that cannot be read, and to an If-Range that no longer holds."""
    header = request.headers.get("range", "")
    unit, _, ranges = header.partition("=")
    if unit.strip().lower() != "bytes" or request.headers.get("if-range", etag) != etag:
        return None
    first, dash, last = ranges.strip().partition("-")
    if not dash or any(part and not _POSITION.fullmatch(part) for part in (first, last)):
        return None
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    elif last:
        start, end = max(size - int(last), 0), size
    else:
        return None
    if start >= end:
        raise RangeNotSatisfiable(
            "range_not_satisfiable",
            f"The content has {size:,} bytes.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end
