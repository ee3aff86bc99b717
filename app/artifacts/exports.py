"""Formats of a student that are made once somebody asks for them: seconds of a worker's time that
most jobs can do without."""

from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db import after_commit, insert_for, now, now_plus
from app.errors import Conflict
from app.queue import Doorbell
from app.tables import Export

ON_REQUEST: Final = frozenset({"onnx", "pt2"})
RETRY_S: Final = 3600.0
"""One that failed is tried again when somebody asks so much later: by then by another version."""


def ask_for(session: Session, job_id: str, format_: str, bell: Doorbell) -> None:
    """Has it made, if nobody is at it. Raises Conflict when it could not be."""
    statement = (
        insert_for(session, Export).values(job_id=job_id, format=format_).on_conflict_do_nothing()
    )
    new = session.scalar(statement.returning(Export.job_id)) is not None
    mine = (Export.job_id == job_id, Export.format == format_)
    again = (
        update(Export)
        .where(*mine, Export.error.is_not(None), Export.created_at < now_plus(-RETRY_S))
        .values(error=None, created_at=now())
        .returning(Export.job_id)
    )
    if new or session.scalar(again) is not None:
        after_commit(session, lambda: bell.export_student(job_id))
        return
    error = session.scalar(select(Export.error).where(*mine))
    if error is not None:
        raise Conflict(error["code"], error["detail"])
