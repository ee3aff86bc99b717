"""SQL on jobs."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from app.db import now_plus
from app.tables import Job, JobEvent, JobLabel, Worker

ALIVE_S = 30.0
"""A worker that was not seen for so long is not counted on."""


def add(session: Session, job: Job) -> None:
    """Together with its labels and the first line of its audit."""
    job.seq = 1
    session.add(job)
    session.flush()
    session.add(JobEvent(job_id=job.id, seq=1, to_state=job.state, attempt=0, reason="submitted"))
    session.add_all(
        JobLabel(job_id=job.id, key=key, value=value) for key, value in job.labels.items()
    )


def get(session: Session, job_id: str) -> Job | None:
    return session.get(Job, job_id)


def lock(session: Session, job_id: str) -> Job | None:
    """The job, which nobody else changes until this transaction ends."""
    return session.get(Job, job_id, with_for_update=True)


def listed(
    states: Sequence[str], labels: Sequence[tuple[str, str]], created_after: datetime | None
) -> Select[Job]:
    statement = select(Job)
    if states:
        statement = statement.where(Job.state.in_(states))
    for key, value in labels:
        statement = statement.where(
            exists().where(JobLabel.job_id == Job.id, JobLabel.key == key, JobLabel.value == value)
        )
    if created_after is not None:
        statement = statement.where(Job.created_at > created_after)
    return statement


def events(job_id: str) -> Select[JobEvent]:
    """The job's audit, to be put in order by seq."""
    return select(JobEvent).where(JobEvent.job_id == job_id)


def live_trainers(session: Session) -> Sequence[Worker]:
    """Workers that train, seen lately."""
    statement = select(Worker).where(Worker.queue == "train", Worker.seen_at > now_plus(-ALIVE_S))
    return session.scalars(statement).all()
