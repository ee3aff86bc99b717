"""Making a file of the parts."""

import hashlib
from collections.abc import Iterator

from fastapi import Response
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import Conflict, Unprocessable
from app.files import repository as files
from app.files.schemas import FileOut
from app.files.service import full_disk_told, gone_told
from app.http.answers import Answer
from app.http.idempotency import Idempotency
from app.storage import OtherBytes, Storage
from app.tables import File, Upload
from app.uploads import geometry, repository
from app.uploads.service import Part, Progress, arrived, found, progress


def complete(
    upload_id: str, *, database: Database, storage: Storage, idempotency: Idempotency
) -> Response:
    """Makes the file. Again, it answers with the same one.

    Raises NotFound, Conflict `upload_incomplete`, Unprocessable `checksum_mismatch`,
    InsufficientStorage, Unavailable `upload_again`; the parts are kept then.
    """
    with database.snapshot() as session:
        so_far = None if idempotency.known(session) else progress(session, upload_id)
    if so_far is not None and so_far.needs_bytes:
        try:
            with full_disk_told():  # not in a transaction: this may take minutes
                _assemble(so_far, storage)
        except Conflict:
            if not _complete_by_now(upload_id, database):
                raise  # else somebody was faster, and took the parts away

    def create(session: Session) -> Answer:
        upload = found(repository.lock(session, upload_id), upload_id)
        if upload.file_id is not None:
            return _file(200, files.get(session, upload.file_id))
        file = files.add(session, upload.filename, upload.sha256, upload.size, storage)
        upload.file_id = file.id
        repository.remove_parts(session, upload_id)
        return _file(201, file)

    with gone_told():
        answer = idempotency.once(database, create)
    if storage.client_parts is not None:
        storage.client_parts.drop(upload_id)
    return answer


def _complete_by_now(upload_id: str, database: Database) -> bool:
    with database.reading() as session:
        row = repository.get(session, upload_id)
        return row is not None and row.file_id is not None


def _assemble(so_far: Progress, storage: Storage) -> None:
    row, parts = so_far.row, arrived(so_far, storage)
    there = {part.number for part in parts}
    _check_all_there(row, [n for n in geometry.numbers(row.size, row.part_size) if n not in there])
    hashes: dict[int, str] = {}
    try:
        storage.assemble(row.sha256, _chunks(row, parts, storage, hashes))
    except OtherBytes as other:
        raise Unprocessable(
            "checksum_mismatch",
            f"The parts together have the SHA-256 {other.sha256}, {row.sha256} was announced.",
            hint="Send the parts again whose SHA-256 is not yours, then complete it again.",
            errors=[
                {"pointer": f"/parts/{number}", "code": "part_sha256", "detail": sha256}
                for number, sha256 in hashes.items()
            ],
        ) from None


def _check_all_there(row: Upload, missing: list[int]) -> None:
    if missing:
        named = ", ".join(map(str, missing[:20])) + (" and more" if len(missing) > 20 else "")
        raise Conflict(
            "upload_incomplete",
            f"Of the upload {row.id} these parts are missing: {named}.",
            errors=[
                {"pointer": f"/parts/{n}", "code": "part_missing", "detail": "Has not arrived."}
                for n in missing
            ],
        )


def _chunks(
    row: Upload, parts: list[Part], storage: Storage, hashes: dict[int, str]
) -> Iterator[bytes]:
    """All bytes in order; fills in the SHA-256 of each part on the way."""
    for part in parts:
        digest = hashlib.sha256()
        try:
            for chunk in part.read(row.id, storage):
                if part.sha256 is None:
                    digest.update(chunk)
                yield chunk
        except FileNotFoundError:
            _check_all_there(row, [part.number])
        hashes[part.number] = part.sha256 or digest.hexdigest()


def _file(status: int, row: File | None) -> Answer:
    assert row is not None  # noqa: S101  (an upload goes with its file)
    file = FileOut.of(row)
    return Answer(status, file.model_dump(mode="json"), {"Location": f"/files/{file.id}"})
