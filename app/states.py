"""Job states, the allowed transitions, and the one guarded UPDATE behind each of them.

queued -> running -> succeeded
  |  ^      |  \\----> failed
  |  |      +--> pausing -> paused -> queued
  |  +------+
  +-> cancelled <- cancelling <- running, pausing
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import Row as ResultRow
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db import now
from app.tables import Job, JobEvent


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


def transition(
    session: Session,
    job_id: str,
    to: State,
    *,
    reason: str,
    token: int | None = None,
    only_from: frozenset[State] | None = None,
    **values: Any,
) -> ResultRow[int, int, int] | None:
    """Moves a job to `to` if it may go there, and writes the audit row in the same transaction.

    `token` fences the write to one attempt; `values` are further columns to set. Returns the row's
    `seq`, `attempt` and `token`, or None when the job was elsewhere (then nothing is written).
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
        .returning(Job.seq, Job.attempt, Job.token)
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
    return row
