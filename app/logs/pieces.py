"""A job's log as rows: pieces of what all its attempts said, of which the last stay.

Places in a log are bytes counted from its very beginning, kept or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.db import insert_for
from app.tables import JobLog

PIECE: Final = 16 * 1024
"""Bytes of one row at most."""
KEPT: Final = 1024 * 1024
"""Bytes of one job's log that stay, but for a piece."""

Piece = tuple[int, bytes]
"""Where it starts, and what it holds."""


@dataclass(frozen=True)
class Excerpt:
    """Some of a log, from `start` up to `end` (exclusive)."""

    start: int
    content: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.content)


def end(session: Session, job_id: str) -> int:
    """Where the next piece goes."""
    last = session.execute(
        select(JobLog.start, func.length(JobLog.content))
        .where(JobLog.job_id == job_id)
        .order_by(JobLog.start.desc())
        .limit(1)
    ).one_or_none()
    return 0 if last is None else last[0] + last[1]


def put(session: Session, job_id: str, pieces: Sequence[Piece]) -> None:
    """Writes one piece or more, over what was there of the same start, and drops what is too
    old."""
    for start, content in pieces:
        session.execute(
            insert_for(session, JobLog)
            .values(job_id=job_id, start=start, content=content)
            .on_conflict_do_update(index_elements=["job_id", "start"], set_={"content": content})
        )
    session.execute(
        delete(JobLog).where(
            JobLog.job_id == job_id, JobLog.start < start + len(content) - KEPT - PIECE
        ),
        execution_options={"synchronize_session": False},
    )


def read(session: Session, job_id: str, after: int = 0) -> Excerpt:
    """What is kept from `after` on."""
    pieces = session.execute(
        select(JobLog.start, JobLog.content)
        .where(JobLog.job_id == job_id, JobLog.start > after - PIECE)
        .order_by(JobLog.start)
    ).all()
    if not pieces:
        return Excerpt(after, b"")
    whole = Excerpt(pieces[0].start, b"".join(piece.content for piece in pieces))
    skip = min(max(after - whole.start, 0), len(whole.content))
    return Excerpt(whole.start + skip, whole.content[skip:])
