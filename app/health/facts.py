"""What the database tells of the whole service, at one moment, for its operators."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import tallies
from app.db import Database, now, now_plus
from app.jobs.repository import ALIVE_S
from app.queue import TRAIN_QUEUES
from app.states import TERMINAL, State
from app.tables import Dataset, Evaluation, Job, KnowledgeReport, Teacher, Worker

FRESH_S = 1.0
"""Scrapes that come closer together than this see the same facts."""
UNENDED = tuple(state for state in State if state not in TERMINAL)

_PRIORITY = func.coalesce(Job.spec["priority"].as_string(), "normal")
JOBS = (
    select(Job.state, _PRIORITY, func.count(), func.min(Job.created_at), func.min(Job.lease_until))
    .where(Job.state.in_(UNENDED))
    .group_by(Job.state, _PRIORITY)
)
WORKERS = select(
    Worker.queue,
    func.count().filter(Worker.seen_at > now_plus(-ALIVE_S)),
    func.min(Worker.seen_at),
).group_by(Worker.queue)
CHECKING = {
    table: select(func.count(), func.min(table.created_at)).where(table.state == table.UNDECIDED)
    for table in (Teacher, Dataset, Evaluation, KnowledgeReport)
}


@dataclass(frozen=True)
class Jobs:
    """Those of one queue in one state."""

    queue: str
    state: str
    count: int
    oldest_s: float
    """Since the first of them was submitted."""
    lease_left_s: float | None
    """Until the first of their leases runs out; below zero it has."""


@dataclass(frozen=True)
class Workers:
    """Those of one queue."""

    queue: str
    alive: int
    lag_s: float
    """Since the one that is silent for longest was last heard of."""


@dataclass(frozen=True)
class Facts:
    jobs: Sequence[Jobs]
    workers: Sequence[Workers]
    checking: dict[str, tuple[int, float]]
    """Teachers, datasets, evaluations and reports that wait for their verdict: how many, and the
    oldest's seconds."""
    counts: dict[str, int]
    """See `app.tallies`."""
    since_sweep_s: float | None


class Watch:
    """The facts, asked for at most once a second however many ask."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._facts: Facts | None = None
        self._until = 0.0

    def facts(self) -> Facts:
        """Raises what the database raises."""
        with self._lock:
            if self._facts is None or time.monotonic() >= self._until:
                with self._database.reading() as session:
                    self._facts = gather(session)
                self._until = time.monotonic() + FRESH_S
            return self._facts


def gather(session: Session) -> Facts:
    """Reads indexed parts alone: jobs that have ended may be millions."""
    clock = session.scalars(select(now())).one()

    def since(moment: datetime | None) -> float:
        return (clock - moment).total_seconds() if moment is not None else 0.0

    counted = tallies.all_of_them(session)
    swept = counted.get("sweeps")
    return Facts(
        jobs=[
            Jobs(
                queue=TRAIN_QUEUES.get(priority, priority),
                state=state,
                count=count,
                oldest_s=since(oldest),
                lease_left_s=-since(lease) if lease is not None else None,
            )
            for state, priority, count, oldest, lease in session.execute(JOBS)
        ],
        workers=[
            Workers(queue, alive or 0, since(silent))
            for queue, alive, silent in session.execute(WORKERS)
        ],
        checking={
            table.__tablename__: (count, since(oldest))
            for table, statement in CHECKING.items()
            for count, oldest in session.execute(statement)
        },
        counts={name: tally.value for name, tally in counted.items()},
        since_sweep_s=since(swept.counted_at) if swept else None,
    )
