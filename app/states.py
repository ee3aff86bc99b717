"""Job states, the allowed transitions, and the one guarded UPDATE behind each of them.

queued -> running -> succeeded
  |  ^      |  \\----> failed
  |  |      +--> pausing -> paused -> queued
  |  +------+
  +-> cancelled <- cancelling <- running, pausing
"""

from collections.abc import Collection
from enum import StrEnum
from typing import Any

from sqlalchemy import Row as ResultRow
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import outbox
from app.db import now
from app.tables import Job, JobEvent, Sweep


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
HELD = frozenset({State.RUNNING, State.PAUSING, State.CANCELLING})
"""States in which an attempt holds the job's lease."""

TOLD = TERMINAL | {State.PAUSED}
"""States that webhooks hear of."""

TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.PAUSED}),
    State.RUNNING: frozenset({State.QUEUED, State.PAUSING}),
    State.PAUSING: frozenset({State.RUNNING}),
    State.PAUSED: frozenset({State.QUEUED, State.PAUSING}),
    State.CANCELLING: frozenset({State.RUNNING, State.PAUSING}),
    State.SUCCEEDED: frozenset({State.RUNNING, State.PAUSING}),
    State.FAILED: frozenset({State.RUNNING, State.PAUSING}),
    State.CANCELLED: frozenset({State.QUEUED, State.PAUSED, State.CANCELLING}),
}
"""Where each state may be reached from."""


def sweep_state(states: Collection[str]) -> State:
    """Where a sweep stands whose jobs are in these states."""
    found = {State(state) for state in states}
    if going := found - TERMINAL:
        if going == found and len(going) == 1:
            return next(iter(going))
        return State.RUNNING
    for state in (State.CANCELLED, State.FAILED, State.SUCCEEDED):
        if state in found:
            return state
    return State.CANCELLED  # all of its jobs are deleted


def transition(
    session: Session,
    job_id: str,
    to: State,
    *,
    reason: str,
    token: int | None = None,
    only_from: frozenset[State] | None = None,
    **values: Any,
) -> ResultRow[int, int, int, str, str | None] | None:
    """Moves a job to `to` if it may go there; writes the audit row, and what webhooks are told, in
    the same transaction.

    `token` fences the write to one attempt; `values` are further columns to set. Returns the row's
    `seq`, `attempt`, `token`, `project_id` and `sweep_id`, or None when the job was elsewhere (then
    nothing is written).
    """
    sources = TRANSITIONS[to] & (only_from or TRANSITIONS[to])
    # Under READ COMMITTED the UPDATE below checks the state again, so this is for the audit only.
    before = session.execute(
        select(Job.state).where(Job.id == job_id).with_for_update()
    ).scalar_one_or_none()
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.state.in_(sources))
        .values(state=to, seq=Job.seq + 1, **values)
        .returning(Job.seq, Job.attempt, Job.token, Job.project_id, Job.sweep_id)
    )
    if token is not None:
        statement = statement.where(Job.token == token)
    if to is State.RUNNING:
        # A claim: what earlier attempts still write no longer counts.
        statement = statement.values(token=Job.token + 1, attempt=Job.attempt + 1)
    if to in TERMINAL:
        statement = statement.values(finished_at=now(), lease_until=None)
    row = session.execute(statement, execution_options={"synchronize_session": False}).one_or_none()
    if row is not None:
        session.add(
            JobEvent(
                job_id=job_id,
                seq=row.seq,
                from_state=before,
                to_state=to,
                attempt=row.attempt,
                reason=reason,
            )
        )
        if to in TOLD:
            outbox.announce(session, row.project_id, f"job.{to}", job_id, to)
        if to in TERMINAL and row.sweep_id is not None:
            _announce_sweep(session, row.project_id, row.sweep_id)
    return row


def _announce_sweep(session: Session, project_id: str, sweep_id: str) -> None:
    """Its end, when this was the last of its jobs: of several that end at once, one is."""
    session.execute(select(Sweep.id).where(Sweep.id == sweep_id).with_for_update(key_share=True))
    states = session.scalars(select(Job.state).where(Job.sweep_id == sweep_id).distinct())
    state = sweep_state(states.all())
    if state in TERMINAL:
        outbox.announce(session, project_id, f"sweep.{state}", sweep_id, state)
