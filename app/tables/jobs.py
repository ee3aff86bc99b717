"""Jobs, and what is told of them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Owned, Row, created, row_id


class Job(Owned, Row):
    """The job. A message on the broker only wakes a worker up for it."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "project_id", "created_at", "id"),
        Index(
            "ix_jobs_active",
            "project_id",
            postgresql_where=text("finished_at IS NULL"),
            sqlite_where=text("finished_at IS NULL"),
        ),
        Index("ix_jobs_state_created", "state", "created_at"),
        Index(
            "ix_jobs_sweep",
            "sweep_id",
            postgresql_where=text("sweep_id IS NOT NULL"),
            sqlite_where=text("sweep_id IS NOT NULL"),
        ),
        Index("ix_jobs_lease_until", "lease_until"),
    )

    id: Mapped[str] = row_id()
    name: Mapped[str]
    state: Mapped[str] = mapped_column(String(16), default="queued")
    phase: Mapped[str] = mapped_column(default="queued")
    spec: Mapped[dict[str, Any]]
    labels: Mapped[dict[str, Any]] = mapped_column(default=dict)
    progress: Mapped[dict[str, Any]]
    error: Mapped[dict[str, Any] | None]
    sweep_id: Mapped[str | None] = mapped_column(ForeignKey("sweeps.id"))
    sweep_place: Mapped[int | None]
    """Which point of the sweep's grid it is."""
    resolved: Mapped[dict[str, Any] | None]
    """Device kind, threads, precision: fixed at the first claim, kept on resume."""

    token: Mapped[int] = mapped_column(default=0)
    """Fencing token: raised by each claim; every write of an attempt must carry it."""
    attempt: Mapped[int] = mapped_column(default=0)
    fruitless: Mapped[int] = mapped_column(default=0)
    """Attempts in a row that ended without checkpoint progress."""
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    seq: Mapped[int] = mapped_column(BigInteger, default=0)
    """Last number given to a metric or event of this job."""
    request_id: Mapped[str | None] = mapped_column(String(128))
    """Of the request that made it: its logs carry that id wherever they are written."""
    traceparent: Mapped[str | None] = mapped_column(String(55))
    """Of the request's span (W3C Trace Context), where it was traced."""

    created_at: Mapped[datetime] = created()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Sweep(Owned, Row):
    """A grid of jobs that differ in some fields. Where it stands follows from its jobs."""

    __tablename__ = "sweeps"
    __table_args__ = (Index(None, "project_id", "created_at", "id"),)

    id: Mapped[str] = row_id()
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    """The job and the grid, as asked for."""
    created_at: Mapped[datetime] = created()


class JobLabel(Row):
    """A job's labels once more, for the index behind ?label=."""

    __tablename__ = "job_labels"
    __table_args__ = (Index("ix_job_labels_key_value", "key", "value", "job_id"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(63), primary_key=True)
    value: Mapped[str] = mapped_column(String(63))


class JobEvent(Row):
    """The audit of a job's transitions."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime] = created()
    from_state: Mapped[str | None] = mapped_column(String(16))
    to_state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int]
    reason: Mapped[str]
    kept_step: Mapped[int | None] = mapped_column(BigInteger)
    """Metrics of later steps were deleted: the attempt that begins writes them again."""


class JobLog(Row):
    """A piece of what a job's trainers said, attempt after attempt. The oldest ones are dropped."""

    __tablename__ = "job_logs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """Of its first byte, counted over all that was ever said."""
    content: Mapped[bytes]
