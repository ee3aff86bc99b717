"""Receiving a file."""

import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from fastapi import Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.blobs import BytesGone
from app.db import Database
from app.errors import InsufficientStorage, Unavailable, Unprocessable
from app.files import repository
from app.files.schemas import FileOut
from app.http.answers import Answer
from app.http.blobs import receive
from app.http.idempotency import Idempotency
from app.projects import quotas
from app.storage import BlobWriter, Storage


async def upload(
    stream: AsyncIterator[bytes],
    *,
    filename: str,
    expected_sha256: str | None,
    announced: int,
    keep_free: int,
    database: Database,
    storage: Storage,
    idempotency: Idempotency,
) -> Response:
    """Streams into storage, and makes a file of it once all of it has arrived as announced.

    `announced` is the length that is to come, 0 where that is not known; `keep_free` are the bytes
    that no upload may take of the disk.

    Raises Unprocessable `checksum_mismatch`, TooMany `quota_exceeded`,
    InsufficientStorage, Unavailable `upload_again`; nothing is kept then.
    """
    await run_in_threadpool(_look_ahead, database, idempotency, expected_sha256, announced)
    await run_in_threadpool(check_room, storage, announced, keep_free)
    writer = await run_in_threadpool(storage.writer)
    try:
        with full_disk_told():
            await receive(stream, writer)
            check_digest(writer, expected_sha256)
            same = idempotency.of(filename, writer.sha256)
            return await run_in_threadpool(_keep, writer, filename, database, storage, same)
    finally:
        writer.abort()


def check_room(storage: Storage, announced: int, keep_free: int) -> None:
    """Raises InsufficientStorage."""
    room = max(storage.room() - keep_free, 0)
    if announced > room:
        raise InsufficientStorage(
            "insufficient_storage",
            f"{announced:,} bytes are announced, and there is room for {room:,}.",
            retryable=True,
        )


def check_digest(writer: BlobWriter, expected_sha256: str | None) -> None:
    """Raises Unprocessable `checksum_mismatch`."""
    if expected_sha256 not in (None, writer.sha256):
        raise Unprocessable(
            "checksum_mismatch",
            f"The body's SHA-256 is {writer.sha256}, Content-Digest announced "
            f"{expected_sha256}. Nothing was kept.",
        )


@contextmanager
def full_disk_told() -> Iterator[None]:
    """Raises InsufficientStorage where a disk is found to be full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InsufficientStorage(
            "insufficient_storage", "The storage is full. Nothing was kept.", retryable=True
        ) from error


@contextmanager
def gone_told() -> Iterator[None]:
    """Raises Unavailable `upload_again` where bytes went before they had their row."""
    try:
        yield
    except BytesGone as error:
        raise Unavailable(
            "upload_again",
            "Older bytes like these were just being removed, and yours with them.",
            hint="Send them again.",
            retryable=True,
        ) from error


def _look_ahead(
    database: Database, idempotency: Idempotency, expected_sha256: str | None, announced: int
) -> None:
    """Nobody should send what cannot be kept. Raises TooMany."""
    with database.reading() as session:
        if quotas.counts_bytes(session) and not idempotency.known(session):
            quotas.room_for_bytes(session, expected_sha256, announced)


def _keep(
    writer: BlobWriter,
    filename: str,
    database: Database,
    storage: Storage,
    idempotency: Idempotency,
) -> Response:
    idempotency.check(database)
    _look_ahead(database, idempotency, writer.sha256, writer.size)
    sha256, size = writer.commit()

    def create(session: Session) -> Answer:
        quotas.room_for_bytes(session, sha256, size, lock=True)
        file = FileOut.of(repository.add(session, filename, sha256, size, storage))
        return Answer(201, file.model_dump(mode="json"), {"Location": f"/files/{file.id}"})

    with gone_told():
        return idempotency.once(database, create)
