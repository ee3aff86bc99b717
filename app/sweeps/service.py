"""The rules of sweeps."""

from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound
from app.ids import new_id
from app.jobs import service as jobs
from app.jobs import steering
from app.projects import quotas
from app.queue import Doorbell
from app.settings import Settings
from app.spec.sweep import SweepSpec
from app.states import TERMINAL, State, sweep_state
from app.storage import Storage
from app.sweeps import repository, table
from app.sweeps.plan import plan
from app.sweeps.schemas import SweepOut
from app.tables import Sweep


def create(
    session: Session, wanted: SweepSpec, *, storage: Storage, settings: Settings, bell: Doorbell
) -> Sweep:
    """Queues every job of the grid, or none. Raises Unprocessable, Conflict or TooMany."""
    planned = plan(session, wanted, storage=storage, settings=settings)
    quotas.room_for_jobs(session, len(planned))
    first = planned[0][0]
    own = None if "name" in wanted.grid else first.name
    name = wanted.name or own or f"{first.method.name} {first.student.network.family}"
    sweep = Sweep(id=new_id("swp"), name=name, spec=wanted.model_dump(mode="json"))
    session.add(sweep)
    session.flush()
    for place, (spec, material) in enumerate(planned):
        if spec.name is None:
            spec = spec.model_copy(update={"name": f"{name[:180]} {place + 1}/{len(planned)}"})
        jobs.queue(session, spec, material, bell=bell, sweep_id=sweep.id, sweep_place=place)
    return sweep


def show(session: Session, sweep: Sweep) -> SweepOut:
    """With its table."""
    spec = SweepSpec.model_validate(sweep.spec)
    rows = table.rows(spec, repository.lines(session, sweep.id))
    counts = repository.counts(session, [sweep.id]).get(sweep.id, [])
    best = table.best(rows, table.metric(spec, rows))
    return SweepOut.of(sweep, counts, results=rows, best=best)


def cancel(session: Session, sweep: Sweep) -> None:
    """All jobs that have not ended. Raises Conflict when all have, and none was cancelled."""
    rows = repository.locked_jobs(session, sweep.id)
    going = [job for job in rows if job.state not in TERMINAL]
    if not going and State.CANCELLED not in {job.state for job in rows}:
        raise Conflict(
            "sweep_already_ended", f"All jobs of {sweep.id} have ended: nothing is left to cancel."
        )
    for job in going:
        steering.cancel(session, job)


def remove(session: Session, sweep: Sweep) -> None:
    """Raises Conflict while a job goes on."""
    states = [job.state for job in repository.locked_jobs(session, sweep.id)]
    if sweep_state(states) not in TERMINAL:
        raise Conflict(
            "sweep_not_ended", f"Some jobs of {sweep.id} have not ended.", hint="Cancel it first."
        )
    repository.remove(session, sweep.id)


def no_sweep(sweep_id: str) -> NotFound:
    return NotFound("sweep_not_found", f"There is no sweep {sweep_id}.")
