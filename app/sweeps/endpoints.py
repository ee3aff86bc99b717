"""/sweeps."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response
from sqlalchemy.orm import Session

from app.dependencies import DatabaseDep, DoorbellDep, SettingsDep, StorageDep
from app.http.answers import Answer, accepted
from app.http.idempotency import IdempotencyDep
from app.http.pages import Page, PagerDep
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.spec.sweep import SweepSpec
from app.sweeps import repository, service
from app.sweeps.schemas import TEMPERATURES, SweepOut
from app.tables import Sweep

router = APIRouter(tags=["sweeps"], route_class=StrictRoute)

SweepId = Annotated[str, Path(pattern=r"^swp_[0-9a-z]{1,40}$")]


@router.post(
    "/sweeps",
    operation_id="create_sweep",
    summary="Submit a grid of jobs",
    status_code=202,
    response_model=SweepOut,
    responses=problems(400, 409, 413, 415, 422),
)
def create_sweep(
    wanted: Annotated[SweepSpec, Body(examples=[TEMPERATURES])],
    database: DatabaseDep,
    storage: StorageDep,
    settings: SettingsDep,
    doorbell: DoorbellDep,
    idempotency: IdempotencyDep,
) -> Response:
    """Each combination is checked like any new job, and if one is refused none is made: pointers
    lead into the grid where a value is wrong, else into the job. Jobs with the same teachers, data
    and views share one pass of the teachers; those with the same student and training share one
    baseline."""

    def create(session: Session) -> Answer:
        sweep = service.create(session, wanted, storage=storage, settings=settings, bell=doorbell)
        return accepted(service.show(session, sweep), f"/sweeps/{sweep.id}")

    return idempotency.once(database, create)


@router.get("/sweeps", operation_id="list_sweeps", summary="List sweeps", responses=problems(400))
def list_sweeps(database: DatabaseDep, pager: PagerDep) -> Page[SweepOut]:
    """Without their tables."""
    with database.reading() as session:
        rows, cursor = pager.read(session, repository.listed(), Sweep)
        counts = repository.counts(session, [row.id for row in rows])
        data = [SweepOut.of(row, counts.get(row.id, [])) for row in rows]
        return Page(data=data, next_cursor=cursor)


@router.get(
    "/sweeps/{sweep_id}",
    operation_id="get_sweep",
    summary="Compare a sweep's jobs",
    responses=problems(404),
)
def get_sweep(sweep_id: SweepId, database: DatabaseDep) -> SweepOut:
    """The table, and the best student so far: by the job's selection metric, on validation."""
    with database.snapshot() as session:
        return service.show(session, _sweep(session, sweep_id))


@router.post(
    "/sweeps/{sweep_id}/cancel",
    operation_id="cancel_sweep",
    summary="Cancel a sweep's jobs",
    responses=problems(404, 409),
)
def cancel_sweep(sweep_id: SweepId, database: DatabaseDep) -> SweepOut:
    """Those that have not ended. Repeated, it is 200."""
    with database.transaction() as session:
        sweep = _sweep(session, sweep_id)
        service.cancel(session, sweep)
        return service.show(session, sweep)


@router.delete(
    "/sweeps/{sweep_id}",
    operation_id="delete_sweep",
    summary="Delete a sweep",
    status_code=204,
    responses=problems(404, 409),
)
def delete_sweep(sweep_id: SweepId, database: DatabaseDep) -> None:
    """With its jobs and all they made, once they have ended: 409 before. Teachers that were made of
    its students stay."""
    with database.transaction() as session:
        service.remove(session, _sweep(session, sweep_id))


def _sweep(session: Session, sweep_id: str) -> Sweep:
    row = repository.get(session, sweep_id)
    if row is None:
        raise service.no_sweep(sweep_id)
    return row
