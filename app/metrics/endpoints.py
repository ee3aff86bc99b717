"""GET /jobs/{id}/metrics."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.dependencies import DatabaseDep, SignerDep
from app.http.etags import matches
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.jobs import repository as jobs
from app.jobs.endpoints import JobId, not_found
from app.metrics import export, repository, service
from app.metrics.schemas import Aggregate, Axis, Format, MetricsOut

router = APIRouter(tags=["metrics"], route_class=StrictRoute)

EXPORTS = {
    "csv": (export.as_csv, "text/csv; charset=utf-8"),
    "parquet": (export.as_parquet, "application/vnd.apache.parquet"),
}
FILE = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/jobs/{job_id}/metrics",
    operation_id="get_metrics",
    summary="Show a job's curves",
    response_model=MetricsOut,
    responses={
        200: {
            "description": "Curves, sampled for charts; or all of their points as a file.",
            "content": {"text/csv": FILE, "application/vnd.apache.parquet": FILE},
        },
        304: {"description": "Nothing is new since the ETag that was sent."},
        **problems(400, 404, 422),
    },
)
def get_metrics(
    job_id: JobId,
    request: Request,
    database: DatabaseDep,
    signer: SignerDep,
    keys: Annotated[
        str | None,
        Query(max_length=10_000, pattern=r"^[^\x00]*$", description="By commas; all by default."),
    ] = None,
    x: Annotated[Axis, Query()] = "step",
    after: Annotated[
        str | None,
        Query(max_length=1000, description="`next` of the answer before: only what is new."),
    ] = None,
    max_points: Annotated[
        int,
        Query(
            ge=2,
            le=10_000,
            description="Of each curve (fewer of very many curves); with `after`, in all.",
        ),
    ] = 1000,
    agg: Annotated[Aggregate, Query()] = "minmax",
    format: Annotated[Format, Query()] = "json",  # noqa: A002  (its name in the address)
) -> Response:
    """Long curves are cut into buckets of neighbouring points, always the same way; the first and
    the last point are kept. Follow `next` to get new points as they come."""
    wanted = tuple(dict.fromkeys(keys.split(","))) if keys else None
    query = service.Query(wanted, x, max_points, agg, after)
    with database.snapshot() as session:
        job = jobs.get(session, job_id)
        if job is None:
            raise not_found(job_id)
        etag = _etag(job_id, job.seq, query, format)
        if matches(request, etag):
            return Response(status_code=304, headers={"ETag": etag})
        if format == "json":
            show = service.overview if after is None else service.news
            body = show(session, job, query, signer).model_dump_json()
            return Response(body, media_type="application/json", headers={"ETag": etag})
        curves = repository.curves(session, job_id, wanted)
    write, media_type = EXPORTS[format]
    headers = {"Content-Disposition": f'attachment; filename="{job_id}-metrics.{format}"'}
    return StreamingResponse(write(database, curves), headers=headers, media_type=media_type)


def _etag(job_id: str, seq: int, query: service.Query, format_: str) -> str:
    """Changes whenever something was written of the job, and with what is asked."""
    asked = hashlib.sha256(f"{job_id} {query} {format_}".encode()).hexdigest()[:16]
    return f'"{seq}-{asked}"'
