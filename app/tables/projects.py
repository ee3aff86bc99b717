"""Who uses the service, and what they did."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Owned, Row, created, row_id


class Project(Row):
    """A tenant: owns files, teachers, datasets and jobs, which no other project sees."""

    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("name"), Index(None, "created_at", "id"))

    id: Mapped[str] = row_id()
    name: Mapped[str] = mapped_column(String(63))
    max_active_jobs: Mapped[int | None]
    """Null takes the service's setting, as below."""
    max_stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = created()


class ApiKey(Owned, Row):
    """A client's credential. The key itself is known to its client alone."""

    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("sha256"), Index(None, "project_id", "created_at", "id"))

    id: Mapped[str] = row_id()
    project_id: Mapped[str] = mapped_column(String(48), ForeignKey("projects.id"))
    name: Mapped[str]
    start: Mapped[str] = mapped_column(String(16))
    """The key's first characters, by which a person tells it from others."""
    sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[Any]]
    created_at: Mapped[datetime] = created()
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """To the minute."""


class AuditEntry(Owned, Row):
    """Who changed what, and when: written in the transaction of the change."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "project_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[datetime] = created()
    key_id: Mapped[str | None] = mapped_column(String(48))
    """Null where no key was asked for, and for the command line."""
    action: Mapped[str] = mapped_column(String(64))
    """The operation's `operationId`."""
    subject: Mapped[str | None] = mapped_column(String(200))
    request_id: Mapped[str | None] = mapped_column(String(128))
