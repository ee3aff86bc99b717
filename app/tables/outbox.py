"""Answers and messages that must go out once."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db import now
from app.tables.base import Owned, Row, created, row_id


class IdempotencyKey(Owned, Row):
    """The first answer to a POST, kept in the transaction that made its row."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"),)

    project_id: Mapped[str] = mapped_column(String(48), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    operation: Mapped[str] = mapped_column(String(64), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = created()


class Webhook(Owned, Row):
    """An address of a client's that is told what happens."""

    __tablename__ = "webhooks"
    __table_args__ = (Index(None, "project_id", "created_at", "id"),)

    id: Mapped[str] = row_id()
    name: Mapped[str]
    url: Mapped[str]
    events: Mapped[list[Any] | None]
    """Types; null for all, those to come too."""
    salt: Mapped[str] = mapped_column(String(64))
    """Its secret is made of this and the service's own, see `app.webhooks.secrets`."""
    old_salt: Mapped[str | None] = mapped_column(String(64))
    old_until: Mapped[datetime | None]
    """So long the secret before this one signs too."""
    made_with: Mapped[str] = mapped_column(String(16))
    """Tells the service's secret from others."""
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    failing_since: Mapped[datetime | None]
    """The first failure since something was taken."""
    created_at: Mapped[datetime] = created()


class Delivery(Owned, Row):
    """One message to one webhook. Waiting ones are the outbox: workers try those that are due."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_listed", "webhook_id", "created_at", "id"),
        Index(
            "ix_webhook_deliveries_due",
            "due_at",
            postgresql_where=text("state = 'waiting'"),
            sqlite_where=text("state = 'waiting'"),
        ),
        Index(None, "created_at"),
    )

    id: Mapped[str] = row_id()
    """The same in every try: by it a receiver tells that it has this message already."""
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(String(32))
    payload: Mapped[str]
    """The body, letter by letter."""
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    """waiting, delivered or failed."""
    failures: Mapped[int] = mapped_column(default=0)
    """Since it was last asked for."""
    tries: Mapped[list[Any]] = mapped_column(default=list)
    """The last ones: at, status, error, seconds."""
    due_at: Mapped[datetime | None] = mapped_column(default=now())
    """Null while its webhook is disabled. Who sends it moves this on first: should that one die,
    another sends it then."""
    created_at: Mapped[datetime] = created()
    ended_at: Mapped[datetime | None]
