"""What jobs leave."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Row, created, row_id


class Artifact(Row):
    """A file that a job made. Kinds: student, report, checkpoint, ..."""

    __tablename__ = "artifacts"
    __table_args__ = (UniqueConstraint("job_id", "name"), Index(None, "sha256"))

    id: Mapped[str] = row_id()
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(32))
    format: Mapped[str] = mapped_column(String(32))
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"))
    size: Mapped[int] = mapped_column(BigInteger)
    token: Mapped[int]
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """A checkpoint's stage and step; whether it is the best one."""
    created_at: Mapped[datetime] = created()


class Export(Row):
    """A format of a student that somebody has asked for: until it is an artifact, or for good with
    the reason why it cannot be made."""

    __tablename__ = "exports"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    format: Mapped[str] = mapped_column(String(16), primary_key=True)
    error: Mapped[dict[str, Any] | None]
    """The problem; null while it is being made."""
    created_at: Mapped[datetime] = created()
