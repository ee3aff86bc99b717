"""SQL on jobs."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    Connection,
    Engine,
    Insert,
    Select,
    Text,
    bindparam,
    cast,
    delete,
    exists,
    insert,
    select,
    update,
)
from sqlalchemy.orm import Session, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql.functions import count
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from app.db import KEPT, before_commit, now_plus
from app.states import TERMINAL
from app.tables import Dataset, Job, JobEvent, JobLabel, Row, Teacher, Worker
from app.tenancy import project_of

ALIVE_S = 30.0
"""A worker that was not seen for so long is not counted on."""
_TRAINERS = select(Worker).where(Worker.queue == "train", Worker.seen_at > now_plus(-ALIVE_S))
_memories: WeakKeyDictionary[Engine | Connection, tuple[float, int]] = WeakKeyDictionary()
# Past the ORM, which would take three times as long to write rows that nobody reads here.
_EVENT = insert(JobEvent).inline()
_LABEL = insert(JobLabel).inline()

_JOBS = Row.metadata.tables[Job.__tablename__]
_GIVEN = [column for column in _JOBS.c if column.name != "created_at"]
_FIRST = {
    c.name: c.default.arg for c in _GIVEN if isinstance(c.default, ScalarElementColumnDefault)
}


def _adding() -> Insert:
    """INSERT ... SELECT ... WHERE all that the job names is there. Past the ORM, and built once."""
    datasets, teachers = (Row.metadata.tables[table.__tablename__] for table in (Dataset, Teacher))
    dataset = select(datasets.c.id).where(datasets.c.id == bindparam("named_dataset"))
    its = teachers.c.id.in_(bindparam("named_teachers", expanding=True))
    found = select(teachers.c.id).where(its).with_for_update(**KEPT).subquery()
    row = select(*(bindparam(column.name, type_=column.type) for column in _GIVEN)).where(
        dataset.with_for_update(**KEPT).exists(),
        select(count()).select_from(found).scalar_subquery() == bindparam("teachers_named"),
    )
    return insert(_JOBS).from_select(_GIVEN, row).returning(_JOBS.c.created_at)


_ADD = _adding()


def add(session: Session, job: Job) -> bool:
    """Together with its labels and the first line of its audit, if the dataset and the teachers
    that it names are there; nobody deletes them until this transaction ends."""
    values = {column.name: getattr(job, column.name) for column in _GIVEN}
    values |= {name: first for name, first in _FIRST.items() if values[name] is None}
    values |= {"project_id": project_of(session), "seq": 1}
    teachers = job.spec["teachers"]
    named = {"named_dataset": job.spec["dataset"], "named_teachers": teachers}
    named |= {"teachers_named": len(teachers)}
    created_at = session.connection().execute(_ADD, values | named).scalar_one_or_none()
    if created_at is None:
        return False
    for name, value in {**values, "created_at": created_at}.items():
        set_committed_value(job, name, value)
    make_transient_to_detached(job)
    session.add(job)
    event = {"job_id": job.id, "seq": 1, "to_state": job.state, "attempt": 0}
    before_commit(session, _EVENT, {**event, "reason": "submitted"})
    if job.labels:
        labels = [{"job_id": job.id, "key": k, "value": v} for k, v in job.labels.items()]
        before_commit(session, _LABEL, labels)
    return True


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
