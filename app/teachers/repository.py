"""SQL on teachers."""

from collections.abc import Iterable

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.tables import Teacher


def get(session: Session, teacher_id: str) -> Teacher | None:
    return session.get(Teacher, teacher_id)


def get_many(session: Session, teacher_ids: Iterable[str]) -> dict[str, Teacher]:
    """Those that exist, by id."""
    ids = set(teacher_ids)
    if not ids:
        return {}
    return {row.id: row for row in session.scalars(select(Teacher).where(Teacher.id.in_(ids)))}


def listed() -> Select[Teacher]:
    return select(Teacher)
