"""SQL on teachers."""

from collections.abc import Iterable

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from app.db import KEPT
from app.tables import Teacher


def get(session: Session, teacher_id: str) -> Teacher | None:
    return session.get(Teacher, teacher_id)


def get_many(session: Session, teacher_ids: Iterable[str]) -> dict[str, Teacher]:
    """Those that exist, by id; nobody deletes them until this transaction ends."""
    ids = set(teacher_ids)
    if not ids:
        return {}
    statement = select(Teacher).where(Teacher.id.in_(ids)).with_for_update(**KEPT)
    return {row.id: row for row in session.scalars(statement)}


def lock(session: Session, teacher_id: str) -> Teacher | None:
    """The teacher, which no new job can name until this transaction ends."""
    return session.get(Teacher, teacher_id, with_for_update=True)


def remove(session: Session, teacher_id: str) -> None:
    session.execute(delete(Teacher).where(Teacher.id == teacher_id))


def listed() -> Select[Teacher]:
    return select(Teacher)
