"""The rows behind stored bytes: who wants a blob, and how one that nobody wants goes.

Bytes come first and their row second, and the same bytes may be on their way in while the old ones
are being removed. So both sides hold the blob's row when it counts: the newcomer looks whether the
bytes are still there, the remover whether anybody refers to them by now.
"""

import re
import time
from collections.abc import Callable, Iterator
from itertools import islice

from sqlalchemy import ColumnElement, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from app.db import Database, insert_for, now, now_plus
from app.storage import Storage, Stored
from app.tables import Artifact, Blob, Dataset, File, KnowledgeReport, Teacher, UploadPart

HASH = re.compile(r"[0-9a-f]{64}").fullmatch
BATCH = 500


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
    session.execute(
        insert_for(session, Blob)
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


def adopt_strays(database: Database, storage: Storage, *, grace_s: float) -> Iterator[str]:
    """Gives rows to bytes that none knows of, as orphans from now on; their hashes.

    Young bytes are left alone: whoever stored them is about to write the row.
    """
    # Its own clock, and perhaps a store's: the grace that begins with the row is the database's.
    before = time.time() - grace_s
    old = (blob for blob in storage.stored() if blob.modified <= before and HASH(blob.sha256))
    for some in _batched(old):
        with database.reading() as session:
            hashes = [blob.sha256 for blob in some]
            known = set(session.scalars(select(Blob.sha256).where(Blob.sha256.in_(hashes))))
        for blob in some:
            if blob.sha256 not in known and _adopt(database, blob):
                yield blob.sha256


def _batched(blobs: Iterator[Stored]) -> Iterator[list[Stored]]:
    while some := list(islice(blobs, BATCH)):
        yield some


def _adopt(database: Database, blob: Stored) -> bool:
    with database.transaction() as session:
        row = {"sha256": blob.sha256, "size": blob.size, "orphaned_at": now()}
        statement = insert_for(session, Blob).values(**row).on_conflict_do_nothing()
        return session.scalar(statement.returning(Blob.sha256)) is not None


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
    referring = (File, Teacher, Dataset, KnowledgeReport, Artifact, UploadPart)
    return or_(*(exists().where(row.sha256 == Blob.sha256) for row in referring))
