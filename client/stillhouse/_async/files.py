"""Uploads: in one piece, or in parts side by side that survive a broken line."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from stillhouse import flow_async, models
from stillhouse._async.bound import AsyncBound
from stillhouse._async.downloads import download
from stillhouse._async.transport import AsyncTransport
from stillhouse.localfiles import Progress, Source, digest_header


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
    ) -> AsyncFile:
        """A file, or bytes. The service checks their SHA-256. Raises OSError where the file cannot
        be read."""
        source = Source.of(content, name)
        sha256 = await flow_async.run(source.sha256)
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

    async def get(self, file_id: str) -> AsyncFile:
        return AsyncFile._of(self._transport, await self._transport.get("files", file_id))


async def _sent(source: Source, progress: Progress | None) -> AsyncIterator[bytes]:
    done, chunks = 0, source.chunks()
    while chunk := await flow_async.run(next, chunks, b""):
        yield chunk
        done += len(chunk)
        if progress is not None:
            progress(done, source.size)
