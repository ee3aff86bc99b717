"""GET /jobs/{id}/logs."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.dependencies import DatabaseDep
from app.http.etags import matches
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.jobs import repository as jobs
from app.jobs.endpoints import JobId, not_found
from app.logs import pieces, text
from app.states import TERMINAL

router = APIRouter(tags=["logs"], route_class=StrictRoute)

EXAMPLE = """\
time=2026-03-01T12:00:00.200Z event="attempt begins" attempt=1
time=2026-03-01T12:00:00.310Z event=resolved device=cpu threads=8 precision=bf16
time=2026-03-01T12:00:04.120Z event=validation epoch=1.0 step=422 validation/accuracy=0.9312
"""


@router.get(
    "/jobs/{job_id}/logs",
    operation_id="get_job_log",
    summary="Read what a job's trainers said",
    response_class=Response,
    responses={
        200: {
            "description": "Text, a second or two behind a running trainer.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": EXAMPLE}},
        },
        304: {"description": "Nothing is new since the ETag that was sent."},
        **problems(404, 422),
    },
)
def get_job_log(
    job_id: JobId,
    request: Request,
    database: DatabaseDep,
    tail: Annotated[
        int | None, Query(ge=1, le=100_000, description="Only so many lines from the end.")
    ] = None,
    after: Annotated[
        int, Query(ge=0, le=2**62, description="Only what follows this place: see `Link`.")
    ] = 0,
) -> Response:
    """Output and errors of all attempts, and lines of `key=value` that say what each did. The last
    MiB is kept, as long as the job is. While the job goes on, a `Link` with `rel="next"` gives
    what comes after this answer."""
    with database.snapshot() as session:
        job = jobs.get(session, job_id)
        if job is None:
            raise not_found(job_id)
        ended = job.state in TERMINAL
        excerpt = pieces.read(session, job_id, after)
    etag = f'"{excerpt.end}-{after}-{tail or 0}-{ended:d}"'
    if matches(request, etag):
        return Response(status_code=304, headers={"ETag": etag})
    body, end = text.readable(excerpt, after, ended=ended)
    headers = {"ETag": etag}
    if not ended:
        headers["Link"] = f'</jobs/{job_id}/logs?after={end}>; rel="next"'
    if tail is not None:
        body = text.last_lines(body, tail)
    return Response(body, headers=headers, media_type="text/plain; charset=utf-8")
