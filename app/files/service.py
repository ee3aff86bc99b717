"""Receiving a file."""

import errno
from collections.abc import AsyncIterator

from fastapi import Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.blobs import BytesGone
from app.db import Database
from app.errors import Unavailable, Unprocessable
from app.files import repository
from app.files.schemas import FileOut
from app.http.answers import Answer
from app.http.blobs import receive
from app.http.idempotency import Idempotency
from app.storage import BlobWriter, Storage


async def upload(
    stream: AsyncIterator[bytes],
    *,
    filename: str,
    expected_sha256: str | None,
    database: Database,
    storage: Storage,
    idempotency: Idempotency,
) -> Response:
    """Streams into storage, and makes a file of it once all of it has arrived as announced.

    Raises Unprocessable `checksum_mismatch`, Unavailable `storage_full` or `upload_again`; nothing
    is kept then.
    """
    writer = await run_in_threadpool(storage.writer)
    try:
        await receive(stream, writer)
        if expected_sha256 not in (None, writer.sha256):
            raise Unprocessable(
                "checksum_mismatch",
                f"The body's SHA-256 is {writer.sha256}, Content-Digest announced "
                f"{expected_sha256}. Nothing was kept.",
            )
        same = idempotency.of(filename, writer.sha256)
        return await run_in_threadpool(_keep, writer, filename, database, storage, same)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Unavailable(
            "storage_full", "The storage is full. Nothing was kept.", retryable=True
        ) from error
    finally:
        writer.abort()


def _keep(
    writer: BlobWriter,
    filename: str,
    database: Database,
    storage: Storage,
    idempotency: Idempotency,
) -> Response:
    idempotency.check(database)
    sha256, size = writer.commit()

    def create(session: Session) -> Answer:
        file = FileOut.of(repository.add(session, filename, sha256, size, storage))
        return Answer(201, file.model_dump(mode="json"), {"Location": f"/files/{file.id}"})

    try:
        return idempotency.once(database, create)
    except BytesGone as error:
        raise Unavailable(
            "upload_again",
            "Older bytes like these were just being removed, and yours with them.",
            hint="Send them again.",
            retryable=True,
        ) from error
