"""Taking a part."""

from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool

from app import blobs
from app.db import Database
from app.errors import Conflict, NotFound, TooLarge, Unprocessable
from app.files.service import check_digest, check_room, full_disk_told, gone_told
from app.http.blobs import receive
from app.settings import Settings
from app.storage import BlobWriter, Storage
from app.tables import Upload
from app.uploads import geometry, repository
from app.uploads.schemas import ArrivedOut
from app.uploads.service import found


async def take_part(
    stream: AsyncIterator[bytes],
    *,
    upload_id: str,
    number: int,
    announced: int | None,
    expected_sha256: str | None,
    settings: Settings,
    database: Database,
    storage: Storage,
) -> ArrivedOut:
    """Streams one part into storage. Sent again, it replaces the one before.

    Raises NotFound, Conflict, TooLarge or Unprocessable for a part of another size,
    InsufficientStorage, Unavailable `upload_again`; what came before is kept then.
    """
    size = await run_in_threadpool(_expected_size, database, upload_id, number)
    if announced is not None:
        _check_size(number, size, announced)
    await run_in_threadpool(check_room, storage, size, settings.min_free_bytes)
    writer = await run_in_threadpool(storage.writer)
    try:
        with full_disk_told():
            await receive(_at_most(stream, number, size), writer)
            _check_size(number, size, writer.size)
            check_digest(writer, expected_sha256)
            return await run_in_threadpool(_keep_part, writer, upload_id, number, database, storage)
    finally:
        writer.abort()


def _expected_size(database: Database, upload_id: str, number: int) -> int:
    with database.reading() as session:
        row = _still_open(found(repository.get(session, upload_id), upload_id))
    try:
        return geometry.length(row.size, row.part_size, number)
    except ValueError:
        count = len(geometry.numbers(row.size, row.part_size))
        raise NotFound(
            "no_such_part", f"The upload {upload_id} has {count} parts, and no number {number}."
        ) from None


def _still_open(row: Upload) -> Upload:
    """Raises Conflict."""
    if row.file_id is not None:
        raise Conflict("upload_complete", f"The upload {row.id} is complete: it takes no parts.")
    return row


def _check_size(number: int, expected: int, size: int) -> None:
    if size > expected:
        raise TooLarge(
            "part_too_large", f"Part {number} has {expected:,} bytes, and more came than that."
        )
    if size < expected:
        raise Unprocessable(
            "part_too_small", f"Part {number} has {expected:,} bytes, {size:,} came."
        )


async def _at_most(
    stream: AsyncIterator[bytes], number: int, expected: int
) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > expected:
            _check_size(number, expected, size)
        yield chunk


def _keep_part(
    writer: BlobWriter, upload_id: str, number: int, database: Database, storage: Storage
) -> ArrivedOut:
    sha256, size = writer.commit()
    with gone_told(), database.transaction() as session:
        _still_open(found(repository.keep(session, upload_id), upload_id))
        blobs.refer(session, sha256, size, stored=storage.exists)
        repository.put_part(session, upload_id, number, sha256, size)
    if storage.client_parts is not None:
        storage.client_parts.drop(upload_id, number)
    return ArrivedOut(number=number, size=size, sha256=sha256)
