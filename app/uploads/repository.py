"""SQL on uploads and their parts."""

from typing import Any

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from app.db import insert_for, now, now_plus
from app.ids import new_id
from app.tables import Upload, UploadPart


def add(session: Session, *, expiry_s: float, **values: Any) -> Upload:
    row = Upload(id=new_id("upl"), expires_at=now_plus(expiry_s), **values)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def listed() -> Select[Upload]:
    """Those that have not expired."""
    return select(Upload).where(Upload.expires_at > now())


def get(session: Session, upload_id: str) -> Upload | None:
    return session.scalars(listed().where(Upload.id == upload_id)).one_or_none()


def keep(session: Session, upload_id: str) -> Upload | None:
    """The upload, which nobody completes or deletes until this transaction ends."""
    statement = listed().where(Upload.id == upload_id).with_for_update(read=True)
    return session.scalars(statement).one_or_none()


def lock(session: Session, upload_id: str) -> Upload | None:
    """The upload, which takes no parts until this transaction ends."""
    statement = listed().where(Upload.id == upload_id).with_for_update()
    return session.scalars(statement).one_or_none()


def parts(session: Session, upload_id: str) -> dict[int, UploadPart]:
    """Those that came through the service, by number."""
    statement = select(UploadPart).where(UploadPart.upload_id == upload_id)
    return {row.number: row for row in session.scalars(statement.order_by(UploadPart.number))}


def put_part(session: Session, upload_id: str, number: int, sha256: str, size: int) -> None:
    """One of the same number is replaced."""
    values = {"sha256": sha256, "size": size}
    session.execute(
        insert_for(session, UploadPart)
        .values(upload_id=upload_id, number=number, **values)
        .on_conflict_do_update(index_elements=["upload_id", "number"], set_=values)
    )


def remove_parts(session: Session, upload_id: str) -> None:
    session.execute(delete(UploadPart).where(UploadPart.upload_id == upload_id))


def remove(session: Session, upload_id: str) -> None:
    """With its parts, whose bytes go like any that nothing refers to."""
    session.execute(delete(Upload).where(Upload.id == upload_id))
