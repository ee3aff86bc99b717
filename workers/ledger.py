"""The worker's verbs on job rows. Each is one short transaction, and each write is fenced.

An attempt holds its job by a token that each claim raises: whatever carries an older one writes
nothing. Leases are measured by the database's clock alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Row as ResultRow
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import tallies
from app.db import Database, now, now_plus
from app.errors import problem_document
from app.logs import pieces
from app.logs.pieces import Piece
from app.metrics import writing as metrics
from app.states import HELD, State, transition
from app.tables import Job
from workers import shelf
from workers.claims import Claim, Hold, claimed

Point = Sequence[Any]
"""key, step, epoch, seconds since 1970, value or null."""


class Fenced(Exception):
    """The attempt no longer holds its job: somebody else does, or nobody."""


class Ledger:
    """`lease_s` is how long a hold lasts without a write; for `max_attempts` see Settings."""

    def __init__(self, database: Database, *, lease_s: float, max_attempts: int) -> None:
        self.database = database
        self.lease_s = lease_s
        self.max_attempts = max_attempts

    def spec(self, job_id: str) -> dict[str, Any] | None:
        """What a job asks for, without taking it; None when it is gone."""
        with self.database.reading() as session:
            return session.scalar(select(Job.spec).where(Job.id == job_id))

    def claim(self, job_id: str, worker: str) -> Claim | None:
        """Takes a job that is queued, or held by an attempt whose lease ran out.

        None when there is nothing to take: a bell may ring twice, or late.
        """
        with self.database.transaction() as session:
            _expire(session, job_id, self.max_attempts)
            row = transition(
                session,
                job_id,
                State.RUNNING,
                reason=f"claimed by {worker}",
                worker=worker,
                phase="starting",
                lease_until=now_plus(self.lease_s),
                started_at=func.coalesce(Job.started_at, now()),
            )
            if row is None:
                return None
            return claimed(session, job_id)

    def write(
        self,
        hold: Hold,
        *,
        progress: dict[str, Any],
        phase: str,
        points: Sequence[Point] = (),
        log: Sequence[Piece] = (),
    ) -> State:
        """The heartbeat: extends the lease, stores what is new, returns what the client wants.

        Raises Fenced.
        """
        with self._held(hold, seq=len(points), progress=progress, phase=phase) as (session, row):
            if points:
                metrics.append(session, hold.job_id, row.seq - len(points) + 1, points)
            if log:
                pieces.put(session, hold.job_id, log)
            return State(row.state)

    def log(self, hold: Hold, said: Sequence[Piece]) -> None:
        """Writes the log alone. Raises Fenced."""
        with self._held(hold) as (session, _):
            pieces.put(session, hold.job_id, said)

    def resolve(self, hold: Hold, resolved: dict[str, Any]) -> None:
        """Fixes what `auto` became, for every later attempt. Raises Fenced."""
        with self._held(hold, resolved=resolved):
            pass

    def publish(
        self, hold: Hold, made: shelf.Made, *, stored: Callable[[str], bool] = lambda _: True
    ) -> None:
        """Makes a stored blob an artifact of the job; `stored` asks the storage whether it is.

        Raises Fenced, or BytesGone.
        """
        with self._held(hold) as (session, _):
            if shelf.put(session, hold.job_id, hold.token, made, stored):
                session.execute(update(Job).where(Job.id == hold.job_id).values(fruitless=0))

    def finish(
        self, hold: Hold, to: State, *, reason: str, error: dict[str, Any] | None = None
    ) -> State:
        """Ends the job, or cancels it when that was asked for meanwhile. Raises Fenced."""
        with self.database.transaction() as session:
            for state in (to, State.CANCELLED):
                if transition(
                    session,
                    hold.job_id,
                    state,
                    reason=reason,
                    token=hold.token,
                    error=error if state is to else None,
                    phase=state.value,
                ):
                    return state
        raise Fenced

    def release(self, hold: Hold, *, reason: str, fruitless: bool) -> State:
        """Ends the attempt, not the job: it is queued again, or is where a request wanted it.

        `fruitless` says whether the attempt counts against the job, should it have saved nothing.
        Raises Fenced.
        """
        with self.database.transaction() as session:
            state = _end_attempt(
                session, hold.job_id, hold.token, reason, fruitless, self.max_attempts
            )
        if state is None:
            raise Fenced
        return state

    def queued(self, priority: str, *, for_s: float = 0.0, limit: int = 1) -> list[str]:
        """The jobs that have waited longest, and longer than `for_s`."""
        with self.database.reading() as session:
            return list(
                session.scalars(
                    select(Job.id)
                    .where(
                        Job.state == State.QUEUED,
                        Job.spec["priority"].as_string() == priority,
                        Job.created_at <= now_plus(-for_s),
                    )
                    .order_by(Job.created_at)
                    .limit(limit)
                )
            )

    def held_by(self, worker: str) -> list[Hold]:
        """What workers of this name have under way, by the rows."""
        with self.database.reading() as session:
            rows = session.execute(
                select(Job.id, Job.token).where(Job.state.in_(HELD), Job.worker == worker)
            )
            return [Hold(job_id, token) for job_id, token in rows]

    def recover(self) -> list[str]:
        """Ends every attempt whose lease ran out; the ids of the jobs.

        A row that somebody holds just now is left for the next time: behind one that a stopped
        process holds, all others would wait.
        """
        with self.database.transaction() as session:
            expired = session.scalars(
                select(Job.id).where(Job.state.in_(HELD), Job.lease_until < now()).limit(1000)
            ).all()
            return [job_id for job_id in expired if _expire(session, job_id, self.max_attempts)]

    @contextmanager
    def _held(
        self, hold: Hold, *, seq: int = 0, **values: Any
    ) -> Iterator[tuple[Session, ResultRow[str, int]]]:
        """A transaction that begins with the guarded UPDATE. Raises Fenced."""
        with self.database.transaction() as session:
            row = session.execute(
                update(Job)
                .where(Job.id == hold.job_id, Job.token == hold.token, Job.state.in_(HELD))
                .values(lease_until=now_plus(self.lease_s), seq=Job.seq + seq, **values)
                .returning(Job.state, Job.seq),
                execution_options={"synchronize_session": False},
            ).one_or_none()
            if row is None:
                raise Fenced
            yield session, row


def _expire(session: Session, job_id: str, max_attempts: int) -> State | None:
    """Ends the job's attempt if its lease ran out and nobody is writing to it."""
    token = session.scalar(
        select(Job.token)
        .where(Job.id == job_id, Job.state.in_(HELD), Job.lease_until < now())
        .with_for_update(skip_locked=True)
    )
    if token is None:
        return None
    return _end_attempt(
        session, job_id, token, "its worker was not heard of in time", True, max_attempts
    )


def _end_attempt(
    session: Session, job_id: str, token: int, reason: str, fruitless: bool, max_attempts: int
) -> State | None:
    job = session.execute(
        select(Job.state, Job.fruitless)
        .where(Job.id == job_id, Job.token == token, Job.state.in_(HELD))
        .with_for_update()
    ).one_or_none()
    if job is None:
        return None
    count = job.fruitless + fruitless
    to = {State.CANCELLING: State.CANCELLED, State.PAUSING: State.PAUSED}.get(
        State(job.state), State.QUEUED
    )
    error = None
    if to is State.QUEUED and fruitless and count >= max_attempts:
        to = State.FAILED
        tallies.count(session, "poisoned")
        error = problem_document(
            500,
            "too_many_attempts",
            f"{count} attempts ended without a new checkpoint. The last one:"
            f" {reason.splitlines()[0]}.",
        )
    ended = transition(
        session,
        job_id,
        to,
        reason=reason,
        token=token,
        only_from=HELD,
        phase=to.value,
        worker=None,
        lease_until=None,
        fruitless=count,
        error=error,
    )
    return None if ended is None else to
