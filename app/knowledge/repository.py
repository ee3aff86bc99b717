"""SQL on reports."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db import insert_for, now_plus
from app.ids import new_id
from app.tables import KnowledgeReport
from app.tenancy import project_of


def find(session: Session, dataset_id: str, subject: str) -> KnowledgeReport | None:
    return session.scalars(
        select(KnowledgeReport).where(
            KnowledgeReport.dataset_id == dataset_id, KnowledgeReport.subject == subject
        )
    ).one_or_none()


def made(session: Session, key: str) -> str | None:
    """The hash of a report on the very same content that the project has already."""
    return session.scalars(
        select(KnowledgeReport.sha256)
        .where(KnowledgeReport.key == key, KnowledgeReport.state == "ready")
        .limit(1)
    ).one_or_none()


def add(session: Session, **values: Any) -> bool:
    """Whether there was none yet: of two that ask at once, one adds it."""
    values = {"id": new_id("rep"), "project_id": project_of(session), **values}
    statement = insert_for(session, KnowledgeReport).values(**values).on_conflict_do_nothing()
    return session.scalar(statement.returning(KnowledgeReport.id)) is not None


def try_again(session: Session, report_id: str, *, after_s: float) -> bool:
    """Asks once more for one that came to nothing, so long after that."""
    statement = (
        update(KnowledgeReport)
        .where(
            KnowledgeReport.id == report_id,
            KnowledgeReport.state == "rejected",
            KnowledgeReport.changed_at <= now_plus(-after_s),
        )
        .values(state="checking", error=None)
        .returning(KnowledgeReport.id)
    )
    asked = session.execute(statement, execution_options={"synchronize_session": False})
    return asked.one_or_none() is not None
