"""Cancelling, pausing and resuming.

A job that nobody holds moves at once; whoever holds one is asked to let go, which is seen at the
next heartbeat. What is asked twice is done once. The caller has locked the job.
"""

from sqlalchemy.orm import Session

from app.db import after_commit
from app.errors import Conflict
from app.queue import Doorbell
from app.states import State, transition
from app.tables import Job


def cancel(session: Session, job: Job) -> Job:
    """Ends the job. Raises Conflict once it has succeeded or failed."""
    match State(job.state):
        case State.CANCELLED | State.CANCELLING:
            return job
        case State.SUCCEEDED | State.FAILED:
            raise _ended(job, "there is nothing left to cancel")
        case State.QUEUED | State.PAUSED:
            _move(session, job, State.CANCELLED, "cancelled by request")
        case _:
            transition(session, job.id, State.CANCELLING, reason="cancelled by request")
    session.refresh(job)
    return job


def pause(session: Session, job: Job) -> Job:
    """Sets the job aside; one that runs saves a checkpoint first. Raises Conflict when it has
    ended, or is about to."""
    match State(job.state):
        case State.PAUSED | State.PAUSING:
            return job
        case State.QUEUED:
            _move(session, job, State.PAUSED, "paused by request")
        case State.RUNNING:
            transition(session, job.id, State.PAUSING, reason="paused by request")
        case _:
            raise _ended(job, "there is nothing left to pause")
    session.refresh(job)
    return job


def resume(session: Session, job: Job, *, bell: Doorbell) -> Job:
    """Queues a paused job again, to go on from its checkpoint. Raises Conflict when it has ended,
    or while it is still pausing."""
    match State(job.state):
        case State.QUEUED | State.RUNNING:
            return job
        case State.PAUSING:
            raise Conflict(
                "job_still_pausing",
                f"The job {job.id} is saving its checkpoint.",
                hint="Resume it once it is paused.",
                retryable=True,
            )
        case State.PAUSED:
            _move(session, job, State.QUEUED, "resumed by request")
            priority = job.spec.get("priority", "normal")
            after_commit(session, lambda: bell.run_job(job.id, priority))
        case _:
            raise _ended(job, "there is nothing left to resume")
    session.refresh(job)
    return job


def _move(session: Session, job: Job, to: State, reason: str) -> None:
    transition(session, job.id, to, reason=reason, phase=to.value)


def _ended(job: Job, so: str) -> Conflict:
    if job.state == State.CANCELLING:
        return Conflict("job_being_cancelled", f"The job {job.id} is being cancelled: {so}.")
    return Conflict("job_already_ended", f"The job {job.id} has {_verb(job)}: {so}.")


def _verb(job: Job) -> str:
    return "been cancelled" if job.state == State.CANCELLED else job.state
