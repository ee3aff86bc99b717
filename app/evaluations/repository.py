"""SQL on evaluations."""

from typing import Any

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.orm import Session

from app.tables import Evaluation


def add(session: Session, row: Evaluation) -> None:
    session.add(row)
    session.flush()
    session.refresh(row)


def get(session: Session, evaluation_id: str) -> Evaluation | None:
    return session.get(Evaluation, evaluation_id)


def listed(teacher: str | None, job: str | None, dataset: str | None) -> Select[Evaluation]:
    statement = select(Evaluation)
    for column, wanted in (
        (Evaluation.teacher_id, teacher),
        (Evaluation.job_id, job),
        (Evaluation.dataset_id, dataset),
    ):
        if wanted is not None:
            statement = statement.where(column == wanted)
    return statement


def known_result(session: Session, key: str) -> dict[str, Any] | None:
    """What the same question was answered before."""
    return session.scalars(
        select(Evaluation.result)
        .where(Evaluation.key == key, Evaluation.state == "succeeded")
        .limit(1)
    ).one_or_none()


def users(session: Session, resource_id: str) -> list[str]:
    """The evaluations that are not done and need this teacher, job or dataset."""
    columns = (Evaluation.teacher_id, Evaluation.job_id, Evaluation.dataset_id)
    statement = select(Evaluation.id).where(
        Evaluation.state == Evaluation.UNDECIDED,
        or_(*(column == resource_id for column in columns)),
    )
    return sorted(session.scalars(statement))


def remove(session: Session, evaluation_id: str) -> bool:
    """Whether it was there."""
    statement = delete(Evaluation).where(Evaluation.id == evaluation_id).returning(Evaluation.id)
    return session.scalar(statement) is not None
