"""POST /jobs, GET /jobs, and what is asked of one job under /jobs/{id}."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response
from sqlalchemy.orm import Session

from app.dependencies import DatabaseDep, DoorbellDep, SettingsDep, StorageDep
from app.errors import Conflict, NotFound, in_use
from app.evaluations import repository as evaluations
from app.http.answers import Answer, accepted
from app.http.idempotency import IdempotencyDep
from app.http.pages import Page, PagerDep
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.http.schema import Instant
from app.jobs import extend, repository, service, steering
from app.jobs.clone import CLONE, CloneIn, overridden
from app.jobs.materials import recall
from app.jobs.schemas import EXAMPLES, EventOut, JobOut, ValidationOut
from app.spec.job import JobSpec
from app.states import TERMINAL, State
from app.tables import Job, JobEvent

router = APIRouter(tags=["jobs"], route_class=StrictRoute)

JobId = Annotated[str, Path(pattern=r"^job_[0-9a-z]{1,40}$")]
Label = Annotated[str, Query(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}:[A-Za-z0-9_.-]{0,63}$")]


def not_found(job_id: str) -> NotFound:
    return NotFound("job_not_found", f"There is no job {job_id}.")


@router.post(
    "/jobs",
    operation_id="create_job",
    summary="Submit a job",
    status_code=202,
    response_model=JobOut,
    responses={
        200: {"description": "With validate_only: it would be accepted.", "model": ValidationOut},
        **problems(400, 409, 413, 415, 422),
    },
)
def create_job(
    spec: Annotated[JobSpec, Body(examples=EXAMPLES)],
    database: DatabaseDep,
    storage: StorageDep,
    settings: SettingsDep,
    doorbell: DoorbellDep,
    idempotency: IdempotencyDep,
    validate_only: Annotated[
        bool, Query(description="Check, resolve and estimate; create nothing.")
    ] = False,
) -> Response:
    """Everything that can be known without training is checked before the answer."""
    if validate_only:
        with database.reading() as session:
            checked = service.validate(session, spec, storage=storage, settings=settings)
        return Answer(200, checked.model_dump(mode="json")).response()

    def create(session: Session) -> Answer:
        job = service.create(session, spec, storage=storage, settings=settings, bell=doorbell)
        return accepted(JobOut.of(job), f"/jobs/{job.id}")

    return idempotency.once(database, create)


@router.get("/jobs", operation_id="list_jobs", summary="List jobs", responses=problems(400, 422))
def list_jobs(
    database: DatabaseDep,
    pager: PagerDep,
    state: Annotated[list[State], Query(description="One or more.")] = [],  # noqa: B006
    label: Annotated[list[Label], Query(description="`key:value`; several must all hold.")] = [],  # noqa: B006
    name: Annotated[
        str | None,
        Query(max_length=200, pattern=r"^[^\x00]*$", description="A part of it, in any case."),
    ] = None,
    created_after: Annotated[Instant | None, Query(description="RFC 3339.")] = None,
    sweep: Annotated[
        str | None, Query(pattern=r"^swp_[0-9a-z]{1,40}$", description="Of this sweep alone.")
    ] = None,
) -> Page[JobOut]:
    filters = {"state": sorted(state), "label": sorted(label), "after": created_after}
    filters |= {"sweep": sweep, "name": name}
    labels = [(key, value) for key, _, value in (one.partition(":") for one in label)]
    with database.reading() as session:
        statement = repository.listed(state, labels, name, created_after, sweep)
        rows, cursor = pager.read(session, statement, Job, filters)
        return Page(data=[JobOut.of(row) for row in rows], next_cursor=cursor)


@router.get(
    "/jobs/{job_id}",
    operation_id="get_job",
    summary="Show a job",
    response_model=JobOut,
    responses=problems(404),
)
def get_job(job_id: JobId, database: DatabaseDep) -> Response:
    with database.reading() as session:
        job = repository.get(session, job_id)
        if job is None:
            raise not_found(job_id)
        shown = JobOut.of(job)
    # What clients poll: FastAPI would check it once more, in another turn of its threads.
    return Answer(200, shown).response()


@router.post(
    "/jobs/{job_id}/clone",
    operation_id="clone_job",
    summary="Submit a job like another",
    status_code=202,
    response_model=JobOut,
    responses=problems(400, 404, 409, 413, 415, 422),
)
def clone_job(
    job_id: JobId,
    database: DatabaseDep,
    storage: StorageDep,
    settings: SettingsDep,
    doorbell: DoorbellDep,
    idempotency: IdempotencyDep,
    wanted: Annotated[CloneIn, Body(examples=[CLONE])] = CloneIn(),
) -> Response:
    """Checked like any new job, with pointers into its whole specification. With `from_checkpoint`
    it goes on where the other one was then."""

    def create(session: Session) -> Answer:
        job = repository.get(session, job_id)
        if job is None:
            raise not_found(job_id)
        spec = overridden(job.spec, wanted.overrides)
        made = service.create(session, spec, storage=storage, settings=settings, bell=doorbell)
        if wanted.from_checkpoint is not None:
            checkpoint = extend.find(session, job, wanted.from_checkpoint)
            extend.check(job.spec, spec)
            rows = recall(session, spec).transfer_rows(spec)
            per_epoch = spec.training.steps_per_epoch(rows)
            extend.give(session, checkpoint, job, made, storage, per_epoch=per_epoch)
        return accepted(JobOut.of(made), f"/jobs/{made.id}")

    return idempotency.once(database, create)


@router.delete(
    "/jobs/{job_id}",
    operation_id="delete_job",
    summary="Delete a job",
    status_code=204,
    responses=problems(404, 409),
)
def delete_job(job_id: JobId, database: DatabaseDep) -> None:
    """With its curves, events and artifacts, once it has ended: 409 before. A teacher that was
    made of its student stays."""
    with database.transaction() as session:
        job = _locked(session, job_id)
        if job.state not in TERMINAL:
            raise Conflict(
                "job_not_ended", f"The job {job_id} is {job.state}.", hint="Cancel it first."
            )
        if users := evaluations.users(session, job_id):
            raise in_use("job", job_id, users)
        repository.remove(session, job_id)


@router.post(
    "/jobs/{job_id}/cancel",
    operation_id="cancel_job",
    summary="Cancel a job",
    responses=problems(404, 409),
)
def cancel_job(job_id: JobId, database: DatabaseDep) -> JobOut:
    """A queued job ends at once, a running one after a last checkpoint. Repeated, it is 200."""
    with database.transaction() as session:
        return JobOut.of(steering.cancel(session, _locked(session, job_id)))


@router.post(
    "/jobs/{job_id}/pause",
    operation_id="pause_job",
    summary="Pause a job",
    responses=problems(404, 409),
)
def pause_job(job_id: JobId, database: DatabaseDep) -> JobOut:
    """A queued job pauses at once, a running one after a checkpoint. Repeated, it is 200."""
    with database.transaction() as session:
        return JobOut.of(steering.pause(session, _locked(session, job_id)))


@router.post(
    "/jobs/{job_id}/resume",
    operation_id="resume_job",
    summary="Resume a paused job",
    responses=problems(404, 409),
)
def resume_job(job_id: JobId, database: DatabaseDep, doorbell: DoorbellDep) -> JobOut:
    """It is queued, and goes on from its checkpoint to the very same student. Repeated, it is
    200."""
    with database.transaction() as session:
        return JobOut.of(steering.resume(session, _locked(session, job_id), bell=doorbell))


@router.get(
    "/jobs/{job_id}/events",
    operation_id="list_job_events",
    summary="List a job's transitions",
    responses=problems(400, 404),
)
def list_job_events(job_id: JobId, database: DatabaseDep, pager: PagerDep) -> Page[EventOut]:
    """The audit: from which state to which, when, and why. Newest first."""
    with database.reading() as session:
        if repository.get(session, job_id) is None:
            raise not_found(job_id)
        rows, cursor = pager.read_by((JobEvent.seq,), session, repository.events(job_id))
        return Page(data=[EventOut.of(row) for row in rows], next_cursor=cursor)


def _locked(session: Session, job_id: str) -> Job:
    job = repository.lock(session, job_id)
    if job is None:
        raise not_found(job_id)
    return job
