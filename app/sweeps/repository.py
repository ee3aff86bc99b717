"""SQL on sweeps and their jobs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session

from app.tables import Artifact, Job, Sweep, Teacher


class Count(NamedTuple):
    """The jobs of one sweep that are in one state."""

    state: str
    jobs: int
    last: datetime | None
    """When the last of them ended."""


class Line(NamedTuple):
    """One job of a sweep, with what its report's row tells."""

    place: int
    job_id: str
    state: str
    error: dict[str, Any] | None
    figures: dict[str, Any]


def listed() -> Select[Sweep]:
    return select(Sweep)


def get(session: Session, sweep_id: str) -> Sweep | None:
    return session.get(Sweep, sweep_id)


def counts(session: Session, sweep_ids: Sequence[str]) -> dict[str, list[Count]]:
    """By sweep; of one whose jobs are all deleted there is nothing."""
    rows = session.execute(
        select(Job.sweep_id, Job.state, func.count(), func.max(Job.finished_at))
        .where(Job.sweep_id.in_(sweep_ids))
        .group_by(Job.sweep_id, Job.state)
    )
    found: dict[str, list[Count]] = {}
    for sweep_id, state, jobs, finished_at in rows:
        assert sweep_id is not None  # noqa: S101  (it is one of those asked for)
        found.setdefault(sweep_id, []).append(Count(state, jobs, finished_at))
    return found


def lines(session: Session, sweep_id: str) -> list[Line]:
    """In the order of the grid."""
    report = (Artifact.job_id == Job.id) & (Artifact.kind == "report")
    rows = session.execute(
        select(Job.sweep_place, Job.id, Job.state, Job.error, Artifact.facts)
        .outerjoin(Artifact, report & (Artifact.format == "json"))
        .where(Job.sweep_id == sweep_id)
        .order_by(Job.sweep_place)
    )
    return [
        Line(place or 0, job_id, state, error, facts or {})
        for place, job_id, state, error, facts in rows
    ]


def locked_jobs(session: Session, sweep_id: str) -> Sequence[Job]:
    """In one order for all who lock several."""
    statement = select(Job).where(Job.sweep_id == sweep_id).order_by(Job.id).with_for_update()
    return session.scalars(statement).all()


def remove(session: Session, sweep_id: str) -> None:
    """With its jobs and all they made; teachers made of these have their own bytes."""
    mine = select(Job.id).where(Job.sweep_id == sweep_id)
    session.execute(update(Teacher).where(Teacher.job_id.in_(mine)).values(job_id=None))
    session.execute(delete(Job).where(Job.sweep_id == sweep_id))
    session.execute(delete(Sweep).where(Sweep.id == sweep_id))
