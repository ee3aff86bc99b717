"""Submitting and validating jobs."""

from typing import Any

from sqlalchemy.orm import Session

from app import tracing
from app.db import after_commit
from app.ids import new_id
from app.jobs import repository
from app.jobs.advice import advise
from app.jobs.checks import check
from app.jobs.estimate import check_memory, estimate, planned_epochs, resolve, steps_of
from app.jobs.materials import Material, gather, recall, sniff_start
from app.jobs.schemas import ValidationOut
from app.projects import quotas
from app.queue import Doorbell
from app.settings import Settings
from app.spec.job import JobSpec
from app.storage import Storage
from app.tables import Job


def create(
    session: Session, spec: JobSpec, *, storage: Storage, settings: Settings, bell: Doorbell
) -> Job:
    """Queues a job. Raises Unprocessable, Conflict or TooMany."""
    material = recall(session, spec)
    sniff_start(session, spec, storage)
    check(spec, material)
    check_memory(spec, material, repository.trainers_memory(session), settings)
    quotas.room_for_jobs(session)
    return queue(session, spec, material, bell=bell)


def queue(
    session: Session, spec: JobSpec, material: Material, *, bell: Doorbell, **values: Any
) -> Job:
    """A job that was checked and has room; `values` are further columns. Raises Unprocessable where
    some of its material has been deleted."""
    job = Job(
        id=new_id("job"),
        name=spec.name or f"{spec.method.name} {spec.student.network.family}",
        spec=spec.model_dump(mode="json"),
        labels=dict(spec.labels),
        progress=_not_begun(spec, material),
        request_id=session.info.get("request_id"),
        traceparent=tracing.traceparent(),
        **values,
    )
    if not repository.add(session, job):
        gather(session, spec)  # says what is not there any more
        raise RuntimeError(f"{spec.dataset} and {spec.teachers} are there, and are not")
    after_commit(session, lambda: bell.run_job(job.id, spec.priority))
    return job


def validate(
    session: Session, spec: JobSpec, *, storage: Storage, settings: Settings
) -> ValidationOut:
    """The same checks as `create`, but for the room that there is just now; and what would come of
    it."""
    material = gather(session, spec)
    sniff_start(session, spec, storage)
    check(spec, material)
    check_memory(spec, material, repository.trainers_memory(session), settings)
    resolution = resolve(spec, material, repository.live_trainers(session))
    return ValidationOut(
        spec=resolution.spec,
        device=resolution.device,
        estimate=estimate(resolution, material),
        warnings=advise(session, spec, material),
    )


def _not_begun(spec: JobSpec, material: Material) -> dict[str, Any]:
    planned = planned_epochs(spec, material)
    return {
        "stage": 0,
        "stages": len(planned),
        "epoch": 0,
        "epochs": spec.training.epochs,
        "step": 0,
        "steps": steps_of(spec, material),
        "fraction": 0.0,
        "samples_per_s": None,
        "eta_s": None,
    }
