"""The rows behind stored bytes: who wants a blob, and how one that nobody wants goes.

Bytes come first and their row second, and the same bytes may be on their way in while the old ones
are being removed. So both sides hold the blob's row when it counts: the newcomer looks whether the
bytes are still there, the remover whether anybody refers to them by now.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db import Database, now, now_plus
from app.storage import Storage
from app.tables import Artifact, Blob, Dataset, File, Teacher


class BytesGone(Exception):
    """They were removed between being stored and being referred to: store them again."""


def refer(session: Session, sha256: str, size: int, *, stored: Callable[[str], bool]) -> None:
    """Notes that storage holds these bytes, in the transaction that makes a row refer to them.

    `stored` asks the storage. Raises BytesGone.
    """
    note(session, sha256, size)
    if not stored(sha256):
        raise BytesGone(sha256)


def note(session: Session, sha256: str, size: int) -> None:
    """The row alone; nobody removes it before the transaction ends."""
    insert: Any = (
        postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    )
    session.execute(
        insert(Blob)
        .values(sha256=sha256, size=size)
        .on_conflict_do_update(index_elements=["sha256"], set_={"orphaned_at": None})
    )


def mark_orphans(database: Database) -> None:
    """Notes since when nobody refers to a blob, and forgets it when somebody does again."""
    quick = {"synchronize_session": False}
    with database.transaction() as session:
        session.execute(
            update(Blob).where(Blob.orphaned_at.is_not(None), _wanted()).values(orphaned_at=None),
            execution_options=quick,
        )
        session.execute(
            update(Blob).where(Blob.orphaned_at.is_(None), ~_wanted()).values(orphaned_at=now()),
            execution_options=quick,
        )


def remove_orphans(
    database: Database, storage: Storage, *, grace_s: float, limit: int = 1000
) -> list[str]:
    """Removes blobs that were orphans for longer than that; the hashes of those that went."""
    old = Blob.orphaned_at <= now_plus(-grace_s)
    with database.reading() as session:
        found = session.scalars(select(Blob.sha256).where(old).limit(limit)).all()
    return [sha256 for sha256 in found if _remove(database, storage, sha256, old)]


def _remove(database: Database, storage: Storage, sha256: str, old: ColumnElement[bool]) -> bool:
    with database.transaction() as session:
        mine = Blob.sha256 == sha256
        lock = select(Blob.sha256).where(mine, old).with_for_update(skip_locked=True)
        if session.scalar(lock) is None:
            return False
        # A statement of its own, which sees what was committed before the lock was had.
        if session.scalar(select(_wanted()).where(mine)):
            return False
        storage.delete(sha256)
        session.execute(delete(Blob).where(mine))
        return True


def _wanted() -> ColumnElement[bool]:
    return or_(
        *(exists().where(row.sha256 == Blob.sha256) for row in (File, Teacher, Dataset, Artifact))
    )
