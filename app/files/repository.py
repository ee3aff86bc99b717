"""SQL on files and on the blobs behind them."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.ids import new_id
from app.tables import Blob, File


def add(session: Session, filename: str, sha256: str, size: int) -> File:
    """A new name for a blob that storage already holds."""
    add_blob(session, sha256, size)
    file = File(id=new_id("file"), filename=filename, sha256=sha256, size=size)
    session.add(file)
    session.flush()
    return file


def add_blob(session: Session, sha256: str, size: int) -> None:
    """Nothing changes when the blob is known."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(insert(Blob).values(sha256=sha256, size=size).on_conflict_do_nothing())


def get(session: Session, file_id: str) -> File | None:
    return session.get(File, file_id)


def get_many(session: Session, file_ids: Iterable[str]) -> dict[str, File]:
    """Those that exist, by id."""
    rows = session.scalars(select(File).where(File.id.in_(set(file_ids))))
    return {row.id: row for row in rows}
