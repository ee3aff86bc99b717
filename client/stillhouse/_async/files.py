"""Uploads: in one piece, or in parts side by side that survive a broken line."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx

from stillhouse import errors, flow_async, models, wire
from stillhouse._async.bound import AsyncBound, pages
from stillhouse._async.downloads import download
from stillhouse._async.transport import AsyncTransport
from stillhouse.localfiles import Progress, Source, Tally, digest_header

MIB = 1 << 20
PARTS_FROM = 64 * MIB
AT_A_TIME = 4
SLOWEST = 20 * MIB
"""Bytes a second that a service puts together and hashes, at the least."""


class AsyncFile(AsyncBound, models.FileOut):
    """Uploaded bytes."""

    links: dict[str, str] = {}  # noqa: RUF012  (pydantic copies it)

    @property
    def _address(self) -> str:
        return f"/files/{self.id}"

    async def download(
        self, to: str | os.PathLike[str] = "", *, progress: Progress | None = None
    ) -> Path:
        """Under its own name by default. A download that broke off goes on."""
        path = Path(to or Path(self.filename).name)
        return await download(self._transport, f"{self._address}/content", path, progress=progress)


class AsyncFiles:
    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def upload(
        self,
        content: bytes | str | os.PathLike[str],
        *,
        name: str | None = None,
        progress: Progress | None = None,
        parts_from: int = PARTS_FROM,
    ) -> AsyncFile:
        """A file, or bytes. The service checks their SHA-256. What has at least `parts_from` bytes
        goes in parts, several at a time; if it breaks off, the next call goes on with what is
        missing. Raises OSError where the file cannot be read."""
        source = Source.of(content, name)
        sha256 = await flow_async.run(source.sha256)
        if source.size >= parts_from:
            return await self._in_parts(source, sha256, progress)
        response = await self._transport.send(
            "POST",
            "/files",
            body=lambda: _sent(source, progress),
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Length": str(source.size),
                "Content-Digest": digest_header(sha256),
                "Idempotency-Key": uuid.uuid4().hex,
                "X-Filename": quote(source.name),
            },
        )
        return AsyncFile._of(self._transport, response)

    async def _in_parts(self, source: Source, sha256: str, progress: Progress | None) -> AsyncFile:
        upload = await self._begun(source, sha256)
        arrived = {one.number: one for one in upload.arrived}
        tally = Tally(source.size, progress)

        async def send(part: models.PartOut) -> None:
            start = (part.number - 1) * upload.part_size
            content, here = await flow_async.run(source.part, start, part.size)
            there = arrived.get(part.number)
            # One that went to the object store has no hash: the whole has, and is checked.
            if there is None or there.sha256 not in (None, here):
                await self._put(upload, part, content, here)
            tally.add(part.size)

        await flow_async.each(send, upload.parts, at_a_time=AT_A_TIME)
        response = await self._transport.send(
            "POST",
            upload.links["complete"],
            headers={"Idempotency-Key": uuid.uuid4().hex},
            timeout=httpx.Timeout(60 + source.size / SLOWEST),
        )
        return AsyncFile._of(self._transport, response)

    async def _begun(self, source: Source, sha256: str) -> models.UploadWithParts:
        """One of these bytes that broke off, or a new one."""
        async for one in pages(self._transport, models.UploadOut, "/uploads", {"limit": 200}):
            if one.state == "open" and (one.sha256, one.filename) == (sha256, source.name):
                response = await self._transport.get("uploads", one.id)
                return wire.read(models.UploadWithParts, response)
        wanted = {"filename": source.name, "size": source.size, "sha256": sha256}
        response = await self._transport.create("/uploads", wanted)
        return wire.read(models.UploadWithParts, response)

    async def _put(
        self, upload: models.UploadWithParts, part: models.PartOut, content: bytes, sha256: str
    ) -> None:
        if part.url.startswith("/"):
            digest = {"Content-Digest": digest_header(sha256)}
            await self._transport.send("PUT", part.url, content=content, headers=digest)
            return
        try:
            await self._transport.send("PUT", part.url, content=content)
        except (errors.Problem, errors.UnexpectedAnswer):
            # An address in the object store holds for a while only.
            response = await self._transport.get("uploads", upload.id)
            fresh = wire.read(models.UploadWithParts, response)
            url = next(one.url for one in fresh.parts if one.number == part.number)
            await self._transport.send("PUT", url, content=content)

    async def get(self, file_id: str) -> AsyncFile:
        return AsyncFile._of(self._transport, await self._transport.get("files", file_id))


async def _sent(source: Source, progress: Progress | None) -> AsyncIterator[bytes]:
    done, chunks = 0, source.chunks()
    while chunk := await flow_async.run(next, chunks, b""):
        yield chunk
        done += len(chunk)
        if progress is not None:
            progress(done, source.size)
