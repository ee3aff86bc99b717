"""SQL on jobs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Text, cast, delete, exists, select, update
from sqlalchemy.orm import Session

from app.db import KEPT, now_plus
from app.states import TERMINAL
from app.tables import Job, JobEvent, JobLabel, Teacher, Worker

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


def keep(session: Session, job_id: str) -> Job | None:
    """The job, which nobody deletes until this transaction ends."""
    return session.get(Job, job_id, with_for_update=dict(KEPT))


def remove(session: Session, job_id: str) -> None:
    """With its labels, events, curves and artifacts. Teachers made of it have their own bytes."""
    session.execute(update(Teacher).where(Teacher.job_id == job_id).values(job_id=None))
    session.execute(delete(Job).where(Job.id == job_id))


def users(session: Session, resource_id: str) -> list[str]:
    """The jobs that have not ended and name this teacher, dataset or file."""
    # Nothing indexes what a specification holds, but jobs that have not ended are few.
    rows = session.execute(
        select(Job.id, Job.spec).where(
            Job.state.not_in(TERMINAL),
            cast(Job.spec, Text).contains(f'"{resource_id}"', autoescape=True),
        )
    )
    return sorted(row.id for row in rows if resource_id in _named(row.spec))


def _named(spec: dict[str, Any]) -> tuple[str | None, ...]:
    return *spec["teachers"], spec["dataset"], spec["student"]["file"]


def listed(
    states: Sequence[str],
    labels: Sequence[tuple[str, str]],
    name: str | None,
    created_after: datetime | None,
) -> Select[Job]:
    statement = select(Job)
    if states:
        statement = statement.where(Job.state.in_(states))
    for key, value in labels:
        statement = statement.where(
            exists().where(JobLabel.job_id == Job.id, JobLabel.key == key, JobLabel.value == value)
        )
    if name is not None:
        statement = statement.where(Job.name.icontains(name, autoescape=True))
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
