"""What an attempt takes with its job: the token that it must show, and all that it needs to run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import Row as ResultRow
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.logs import pieces
from app.metrics import repository
from app.metrics import writing as metrics
from app.states import HELD
from app.tables import Artifact, Dataset, File, Job, JobEvent, Teacher
from workers import shelf
from workers.engine.curves import MOST_KEYS, MOST_POINTS, SHOWN


@dataclass(frozen=True)
class Hold:
    """What an attempt must show with every write."""

    job_id: str
    token: int


@dataclass(frozen=True)
class Claim(Hold):
    """A job that this attempt has just taken, and all it takes to run it."""

    project_id: str
    attempt: int
    spec: dict[str, Any]
    progress: dict[str, Any]
    resolved: dict[str, Any] | None
    seconds_held: float
    """By earlier attempts together."""
    queued_at: datetime | None = None
    """Since when it waited for this attempt."""
    request_id: str | None = None
    traceparent: str | None = None
    fruitless: int = 0
    """Attempts that were killed since the last checkpoint."""
    teachers: dict[str, Teacher] = field(default_factory=dict)
    dataset: Dataset | None = None
    files: dict[str, str] = field(default_factory=dict)
    """File id to SHA-256."""
    log_end: int = 0
    """How much earlier attempts have said, in bytes."""
    checkpoints: tuple[Artifact, ...] = ()
    """Newest first."""
    deliverables: tuple[Artifact, ...] = ()
    once: tuple[Artifact, ...] = ()
    """What a plan computed once."""
    curves: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    """(epoch, value) of what earlier attempts measured and a card may show."""


def claimed(session: Session, job_id: str) -> Claim:
    """Reads the claim of a job that this transaction has just taken; what its last attempt measured
    past what it saved is forgotten."""
    job = session.get_one(Job, job_id)
    checkpoints = shelf.of_kind(session, job_id, shelf.CHECKPOINT)
    deliverables = shelf.of_kind(session, job_id, shelf.DELIVERABLE)
    if job.attempt > 1:
        reached = max(
            (made.facts.get("step", -1) for made in checkpoints + deliverables), default=-1
        )
        metrics.delete_after(session, job_id, reached)
        begun = JobEvent.job_id == job_id, JobEvent.seq == job.seq
        session.execute(update(JobEvent).where(*begun).values(kept_step=reached))
    teachers = session.scalars(select(Teacher).where(Teacher.id.in_(job.spec.get("teachers", ()))))
    moves = session.execute(
        select(JobEvent.to_state, JobEvent.at)
        .where(JobEvent.job_id == job_id)
        .order_by(JobEvent.seq)
    ).all()
    student_file = job.spec["student"].get("file")
    file = session.get(File, student_file) if student_file else None
    return Claim(
        job_id=job_id,
        token=job.token,
        project_id=job.project_id,
        attempt=job.attempt,
        spec=job.spec,
        progress=job.progress,
        resolved=job.resolved,
        seconds_held=_seconds_held(moves),
        fruitless=job.fruitless,
        queued_at=moves[-2].at if len(moves) > 1 else job.created_at,
        request_id=job.request_id,
        traceparent=job.traceparent,
        teachers={teacher.id: teacher for teacher in teachers},
        dataset=session.get(Dataset, job.spec["dataset"]),
        files={} if file is None else {file.id: file.sha256},
        log_end=pieces.end(session, job_id),
        checkpoints=tuple(checkpoints),
        deliverables=tuple(deliverables),
        once=tuple(shelf.of_kind(session, job_id, shelf.ONCE)),
        curves=_curves(session, job_id) if job.attempt > 1 else {},
    )


def _curves(session: Session, job_id: str) -> dict[str, tuple[tuple[float, float], ...]]:
    """Sampled. Nobody writes to them meanwhile: this transaction has the job."""
    wanted = [
        curve for curve in repository.curves(session, job_id, None) if curve.key.endswith(SHOWN)
    ][:MOST_KEYS]
    found = repository.sample(session, wanted, points=MOST_POINTS // 2)
    return {
        curve.key: tuple(
            (epoch, value)
            for epoch, value in zip(found[curve.id].epoch, found[curve.id].value, strict=True)
            if value is not None
        )
        for curve in wanted
        if curve.id in found
    }


def _seconds_held(moves: Sequence[ResultRow[str, datetime]]) -> float:
    """How long attempts have held the job so far, by its audit."""
    held = [after.at - before.at for before, after in pairwise(moves) if before.to_state in HELD]
    return sum(held, start=timedelta()).total_seconds()
