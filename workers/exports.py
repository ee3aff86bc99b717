"""The worker's verbs on exports: which formats are wanted of a student, and what became of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.db import KEPT, Database, now_plus
from app.tables import Artifact, Export, Job
from workers import shelf

WEIGHTS, ABOUT = "student.safetensors", "network.json"


@dataclass(frozen=True)
class ExportCase:
    """A student and the formats that it is wanted in."""

    job_id: str
    formats: tuple[str, ...]
    weights: str
    """SHA-256 of student.safetensors."""
    about: str
    """Of network.json."""
    network: dict[str, Any]


class Exports:
    """Reads cases and writes what became of them. Making one twice is wasteful and nothing worse:
    the same student gives the same artifact."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def case(self, job_id: str) -> ExportCase | None:
        """None when there is nothing to do any more."""
        with self.database.reading() as session:
            job = session.get(Job, job_id)
            wanted = select(Export.format).where(Export.job_id == job_id, Export.error.is_(None))
            formats = tuple(session.scalars(wanted.order_by(Export.format)))
            weights, about = (_file(session, job_id, name) for name in (WEIGHTS, ABOUT))
            if job is None or not formats or weights is None or about is None:
                return None
            return ExportCase(job_id, formats, weights, about, job.spec["student"]["network"])

    def made(self, case: ExportCase, made: shelf.Made, *, stored: Callable[[str], bool]) -> None:
        """Makes it an artifact, if the job is still there. `stored` asks the storage.

        Raises BytesGone.
        """
        with self.database.transaction() as session:
            # Held, so that it cannot be deleted in between.
            mine = select(Job.token).where(Job.id == case.job_id).with_for_update(**KEPT)
            token = session.scalar(mine)
            if token is not None and _file(session, case.job_id, WEIGHTS) == case.weights:
                shelf.put(session, case.job_id, token, made, stored)
            session.execute(
                delete(Export).where(Export.job_id == case.job_id, Export.format == made.format)
            )

    def failed(self, case: ExportCase, format_: str, problem: dict[str, Any]) -> None:
        """Kept, so that the next who asks is told."""
        with self.database.transaction() as session:
            session.execute(
                update(Export)
                .where(Export.job_id == case.job_id, Export.format == format_)
                .values(error=problem)
            )

    def waiting(self, *, for_s: float) -> list[str]:
        """The ids of jobs of which an export has been wanted for longer than that."""
        with self.database.reading() as session:
            return list(
                session.scalars(
                    select(Export.job_id)
                    .where(Export.error.is_(None), Export.created_at < now_plus(-for_s))
                    .distinct()
                    .limit(1000)
                )
            )


def _file(session: Session, job_id: str, name: str) -> str | None:
    return session.scalar(
        select(Artifact.sha256).where(Artifact.job_id == job_id, Artifact.name == name)
    )
