"""SQL on artifacts."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.tables import Artifact

INTERNAL = ("deliverable", "once")
"""What one stage, or one attempt, hands to the next."""


def of_job(session: Session, job_id: str) -> Sequence[Artifact]:
    """Oldest first, without those that only attempts use."""
    statement = (
        select(Artifact)
        .where(Artifact.job_id == job_id, Artifact.kind.not_in(INTERNAL))
        .order_by(Artifact.created_at, Artifact.id)
    )
    return session.scalars(statement).all()


def named(session: Session, job_id: str, name: str) -> Artifact | None:
    return session.scalars(
        select(Artifact).where(
            Artifact.job_id == job_id, Artifact.name == name, Artifact.kind.not_in(INTERNAL)
        )
    ).one_or_none()


def student(session: Session, job_id: str, format_: str) -> Artifact | None:
    statement = select(Artifact).where(
        Artifact.job_id == job_id, Artifact.kind == "student", Artifact.format == format_
    )
    return session.scalars(statement.order_by(Artifact.created_at.desc()).limit(1)).one_or_none()
