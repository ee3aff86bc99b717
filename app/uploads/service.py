"""Beginning an upload, and how far one is."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.errors import NotFound, TooLarge
from app.files.service import check_room
from app.projects import quotas
from app.settings import Settings
from app.storage import Storage
from app.tables import Upload, UploadPart
from app.uploads import geometry, repository
from app.uploads.schemas import ArrivedOut, PartOut, UploadIn, UploadWithParts, parts_to_send


def begin(session: Session, wanted: UploadIn, *, storage: Storage, settings: Settings) -> Upload:
    """Raises TooLarge, TooMany `quota_exceeded`, InsufficientStorage."""
    if wanted.size > settings.max_file_bytes:
        raise TooLarge(
            "file_too_large",
            f"{wanted.size:,} bytes are more than the {settings.max_file_bytes:,} allowed.",
        )
    part_size = geometry.part_size(wanted.size, settings.upload_part_bytes)
    if not quotas.owns(session, wanted.sha256, wanted.size):
        needed = storage.room_in_parts(wanted.size, part_size)
        check_room(storage, needed, settings.min_free_bytes)
        quotas.room_for_bytes(session, wanted.sha256, wanted.size, lock=True)
    return repository.add(
        session,
        expiry_s=settings.upload_expiry_s,
        filename=wanted.filename,
        size=wanted.size,
        sha256=wanted.sha256,
        part_size=part_size,
    )


@dataclass(frozen=True)
class Progress:
    """How far an upload is, as far as its rows tell."""

    row: Upload
    needs_bytes: bool
    """Neither is it complete, nor does its project have these bytes already."""
    parts: dict[int, UploadPart]


def progress(session: Session, upload_id: str) -> Progress:
    """In a snapshot: between two looks somebody may complete it, and its parts are gone then.
    Raises NotFound."""
    row = found(repository.get(session, upload_id), upload_id)
    needs = row.file_id is None and not quotas.owns(session, row.sha256, row.size)
    return Progress(row, needs, repository.parts(session, upload_id) if needs else {})


def show(so_far: Progress, storage: Storage) -> UploadWithParts:
    """What is to be sent, and what has arrived."""
    row = so_far.row
    if not so_far.needs_bytes:
        return UploadWithParts.of(row, parts=[], arrived=[])
    there = [
        ArrivedOut(number=part.number, size=part.size, sha256=part.sha256)
        for part in arrived(so_far, storage)
    ]
    return UploadWithParts.of(row, parts=_to_send(row, storage), arrived=there)


def show_new(session: Session, row: Upload, storage: Storage) -> UploadWithParts:
    """As `show`, without asking the storage what has arrived."""
    needs = not quotas.owns(session, row.sha256, row.size)
    return UploadWithParts.of(row, parts=_to_send(row, storage) if needs else [], arrived=[])


def _to_send(row: Upload, storage: Storage) -> list[PartOut]:
    addresses = None
    if storage.client_parts is not None:
        numbers = geometry.numbers(row.size, row.part_size)
        addresses = storage.client_parts.addresses(row.id, numbers)
    return parts_to_send(row, addresses)


def found(row: Upload | None, upload_id: str) -> Upload:
    """Raises NotFound."""
    if row is None:
        raise NotFound("upload_not_found", f"There is no upload {upload_id}, or none any more.")
    return row


@dataclass(frozen=True)
class Part:
    """One that is there, whichever way it came."""

    number: int
    size: int
    sha256: str | None
    """Null: a client put it into the store itself."""

    def read(self, upload_id: str, storage: Storage) -> Iterator[bytes]:
        if self.sha256 is not None:
            return storage.read(self.sha256)
        assert storage.client_parts is not None  # noqa: S101  (it was found there)
        return storage.client_parts.read(upload_id, self.number, self.size)


def arrived(so_far: Progress, storage: Storage) -> list[Part]:
    """Whole parts, in order. What a client put into the store goes before what came through the
    service, which removes it there."""
    row = so_far.row
    parts = {number: Part(number, p.size, p.sha256) for number, p in so_far.parts.items()}
    if storage.client_parts is not None:
        for number, size in storage.client_parts.arrived(row.id).items():
            if number in geometry.numbers(row.size, row.part_size) and size == geometry.length(
                row.size, row.part_size, number
            ):
                parts[number] = Part(number, size, None)
    return [parts[number] for number in sorted(parts)]
