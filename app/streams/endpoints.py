"""GET /jobs/{id}/stream."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse

from app.dependencies import CallerDep, DatabaseDep, HubDep
from app.errors import unprocessable
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.jobs.endpoints import JobId, not_found
from app.streams import repository
from app.streams.repository import Standing
from app.streams.schemas import EXAMPLE

router = APIRouter(tags=["jobs"], route_class=StrictRoute)

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # proxies would wait for more
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: `metrics`, `progress`, `state`, and a final `done`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": EXAMPLE}},
    },
    204: {"description": "All of it was heard before, `done` too: do not come again."},
}


def _standing(job_id: JobId, database: DatabaseDep) -> Standing:
    with database.reading() as session:
        found = repository.standings(session, [job_id]).get(job_id)
    if found is None:
        raise not_found(job_id)
    return found


@router.get(
    "/jobs/{job_id}/stream",
    operation_id="stream_job",
    summary="Follow a job",
    response_class=Response,
    responses={**STREAM, **problems(404, 422)},
)
async def stream_job(
    job_id: JobId,
    standing: Annotated[Standing, Depends(_standing)],
    hub: HubDep,
    caller: CallerDep,
    after: Annotated[
        int, Query(ge=0, lt=2**62, description="`id` of an event, or `seq` of the job's metrics.")
    ] = 0,
    last_event_id: Annotated[
        str | None,
        Header(pattern=r"^[0-9]{1,18}$", description="As browsers send it; goes before `after`."),
    ] = None,
) -> Response:
    """What happens, as it happens, from the job's beginning or from after an event.

    `metrics` has new points of curves; a point of a known key and step takes the place of the one
    before. `progress` is where the job stands now. `state` is a transition, as in the job's events;
    where it has a `kept_step`, forget all points of later steps. `done` has the whole job, and is
    the last. A stream that ends without it was cut: come back with the last `id`.
    """
    place = after if last_event_id is None else int(last_event_id)
    if standing.over and place == standing.seq + 1:
        return Response(status_code=204)
    if place > standing.seq:
        raise unprocessable(
            "/query/after" if last_event_id is None else "/header/Last-Event-ID",
            "unknown_event",
            f"The job {job_id} has come to {standing.seq}: there is no event {place} yet.",
        )
    events = hub.follow(job_id, place, standing, caller.key_id)
    return EventSourceResponse(events, headers=HEADERS)
