"""The processes of the service."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Row, created


class Tally(Row):
    """What all workers together have counted, and when last."""

    __tablename__ = "tallies"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger, default=0)
    counted_at: Mapped[datetime] = created()


class Worker(Row):
    """A living worker process and what it can do, so that estimates need no torch."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    queue: Mapped[str] = mapped_column(String(32))
    device: Mapped[str | None]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    gflops: Mapped[dict[str, Any] | None]
    """Measured matrix rates by precision, in GFLOP/s."""
    step_s: Mapped[float | None]
    """Measured seconds of a training step whose arithmetic is next to nothing."""
    started_at: Mapped[datetime] = created()
    seen_at: Mapped[datetime] = created()
