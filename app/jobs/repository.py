"""SQL on jobs."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Text,
    cast,
    delete,
    exists,
    insert,
    select,
    update,
)
from sqlalchemy.orm import Session

from app.db import KEPT, before_commit, now_plus
from app.states import TERMINAL
from app.tables import Job, JobEvent, JobLabel, Teacher, Worker

ALIVE_S = 30.0
"""A worker that was not seen for so long is not counted on."""
_TRAINERS = select(Worker).where(Worker.queue == "train", Worker.seen_at > now_plus(-ALIVE_S))
_memories: WeakKeyDictionary[Engine | Connection, tuple[float, int]] = WeakKeyDictionary()
_EVENT = insert(JobEvent).inline()
_LABEL = insert(JobLabel).inline()


def add(session: Session, job: Job) -> None:
    """Together with its labels and the first line of its audit."""
    job.seq = 1
    session.add(job)
    session.flush()
    # Past the ORM, which would take three times as long to write rows that nobody reads here.
    event = {"job_id": job.id, "seq": 1, "to_state": job.state, "attempt": 0}
    before_commit(session, _EVENT, {**event, "reason": "submitted"})
    if job.labels:
        labels = [{"job_id": job.id, "key": k, "value": v} for k, v in job.labels.items()]
        before_commit(session, _LABEL, labels)


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
    sweep_id: str | None,
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
    if sweep_id is not None:
        statement = statement.where(Job.sweep_id == sweep_id)
    return statement


def events(job_id: str) -> Select[JobEvent]:
    """The job's audit, to be put in order by seq."""
    return select(JobEvent).where(JobEvent.job_id == job_id)


def live_trainers(session: Session) -> Sequence[Worker]:
    """Workers that train, seen lately."""
    return session.scalars(_TRAINERS).all()


def trainers_memory(session: Session) -> int:
    """The most that one of them has, in bytes; as it was a second ago, since every job asks."""
    engine = session.get_bind()
    until, known = _memories.get(engine, (0.0, 0))
    if time.monotonic() >= until:
        known = max((worker.memory_bytes or 0 for worker in live_trainers(session)), default=0)
        _memories[engine] = (time.monotonic() + 1.0, known)
    return known
