"""GET /jobs/{id}/artifacts, /artifacts/{name}, /student, /report."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy.orm import Session

from app.artifacts import exports, repository
from app.artifacts.schemas import ArtifactOut, ArtifactsOut, ExportOut
from app.dependencies import DatabaseDep, DoorbellDep, StorageDep
from app.errors import Conflict, NotFound
from app.http.answers import Answer
from app.http.blobs import blob_response
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.jobs import repository as jobs
from app.jobs.endpoints import JobId, not_found
from app.spec.quantization import METADATA
from app.states import TERMINAL, State
from app.storage import Storage
from app.tables import Artifact, Job

router = APIRouter(tags=["artifacts"], route_class=StrictRoute)

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.=-]*(/[A-Za-z0-9][A-Za-z0-9_.=-]*)*$")]
BYTES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The bytes.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    307: {"description": "The bytes are at Location, in the object store itself."},
}
MEDIA_TYPES = {
    "bundle": "application/zip",
    "json": "application/json",
    "markdown": "text/markdown; charset=utf-8",
    "svg": "image/svg+xml",
}


@router.get(
    "/jobs/{job_id}/artifacts",
    operation_id="list_artifacts",
    summary="List what a job made",
    responses=problems(404),
)
def list_artifacts(job_id: JobId, database: DatabaseDep) -> ArtifactsOut:
    with database.reading() as session:
        _job(session, job_id)
        rows = repository.of_job(session, job_id)
        return ArtifactsOut(data=[ArtifactOut.of(row) for row in rows])


@router.head("/jobs/{job_id}/artifacts/{name:path}", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/artifacts/{name:path}",
    operation_id="get_artifact",
    summary="Download an artifact",
    response_class=Response,
    responses={**BYTES, **problems(404, 416)},
)
def get_artifact(
    job_id: JobId, name: Name, request: Request, database: DatabaseDep, storage: StorageDep
) -> Response:
    """Takes Range, If-Range and If-None-Match; the ETag is the SHA-256."""
    with database.reading() as session:
        _job(session, job_id)
        artifact = repository.named(session, job_id, name)
    if artifact is None:
        raise NotFound("artifact_not_found", f"The job {job_id} has no artifact {name}.")
    return _download(request, storage, artifact)


@router.head("/jobs/{job_id}/student", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/student",
    operation_id="get_student",
    summary="Download the student",
    response_class=Response,
    responses={
        **BYTES,
        202: {"description": "It is being made: ask again.", "model": ExportOut},
        **problems(404, 409, 416),
    },
)
def get_student(
    job_id: JobId,
    request: Request,
    database: DatabaseDep,
    storage: StorageDep,
    doorbell: DoorbellDep,
    format: Annotated[  # noqa: A002  (its name in the address)
        Literal["safetensors", "onnx", "pt2", "bundle"], Query()
    ] = "safetensors",
) -> Response:
    """Takes Range, If-Range and If-None-Match; the ETag is the SHA-256.

    `bundle` is a zip with the weights, a loader that needs torch and safetensors alone, the report,
    the card with its pictures, and the provenance. `onnx` and `pt2` (torch.export) are made when
    they are first asked for, and artifacts from then on; both normalise their input by themselves.
    A job that was cancelled or failed after its student was published, while it trained baselines,
    still has it, but no bundle.
    """
    with database.reading() as session:
        job = _job(session, job_id)
        artifact = repository.student(session, job_id, format)
        weights = repository.student(session, job_id, "safetensors")
    if weights is None or job.state not in TERMINAL:
        _finished(job, "student")
    if artifact is not None:
        return _download(request, storage, artifact)
    if weights is None:
        raise _expired(job_id, "student")
    if format not in exports.ON_REQUEST:
        raise NotFound("format_not_made", f"The job {job_id} made no student as {format}.")
    if METADATA in weights.facts:
        raise Conflict(
            "format_does_not_fit",
            f"The weights of {job_id} are integers, which {format} would not hold as they are.",
            hint="Take format=safetensors or bundle, or the artifact full_precision.safetensors.",
        )
    with database.transaction() as session:
        exports.ask_for(session, job_id, format, doorbell)
    body = ExportOut(job=job_id, format=format, state="making").model_dump(mode="json")
    return Answer(202, body, {"Retry-After": "2"}).response()


@router.get(
    "/jobs/{job_id}/report",
    operation_id="get_report",
    summary="Show whether it helped",
    response_class=Response,
    responses={
        200: {
            "description": "Teacher, student and baseline on the same examples, and the verdict.",
            "content": {
                "application/json": {
                    "schema": {"type": "object"},
                    "example": {
                        "verdict": "helped",
                        "sentence": "Distillation helped: 0.6 points more of the test examples.",
                    },
                }
            },
        },
        **problems(404, 409),
    },
)
def get_report(
    job_id: JobId, request: Request, database: DatabaseDep, storage: StorageDep
) -> Response:
    with database.reading() as session:
        job = _job(session, job_id)
        artifact = repository.named(session, job_id, "report.json")
    if artifact is None:
        _finished(job, "report")
        raise _expired(job_id, "report")
    response = _download(request, storage, artifact, redirect=False)
    response.headers["Content-Disposition"] = "inline"
    return response


def _job(session: Session, job_id: str) -> Job:
    job = jobs.get(session, job_id)
    if job is None:
        raise not_found(job_id)
    return job


def _finished(job: Job, what: str) -> None:
    if job.state == State.SUCCEEDED:
        return
    ended = job.state in TERMINAL
    raise Conflict(
        "job_not_succeeded" if ended else "job_not_finished",
        f"The job {job.id} is {job.state}: there is no {what}{'' if ended else ' yet'}.",
        retryable=not ended,
    )


def _expired(job_id: str, what: str) -> NotFound:
    """Every job that succeeded had one."""
    return NotFound(
        "artifact_expired",
        f"The {what} of {job_id} is not kept any more.",
        hint="The service's owner sets how long, STILLHOUSE_KEEP_ARTIFACTS_DAYS.",
    )


def _download(
    request: Request, storage: Storage, artifact: Artifact, *, redirect: bool = True
) -> Response:
    return blob_response(
        request,
        storage,
        sha256=artifact.sha256,
        size=artifact.size,
        filename=artifact.name.replace("/", "-"),
        media_type=MEDIA_TYPES.get(artifact.format, "application/octet-stream"),
        redirect=redirect,
    )
