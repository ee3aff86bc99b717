"""The workers' verbs on messages to webhooks: which are due, who sends one, what became of it.

Whoever takes a message moves its time on by LEASE_S first. A worker that is killed meanwhile loses
nothing: the message is due again then, under the same id, so a receiver may see it twice.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database, now, now_plus
from app.tables import Delivery, Webhook
from app.webhooks import repository, service
from app.webhooks.secrets import SecretMaker
from workers.post import GONE, Outcome, Parcel

LEASE_S: Final = 120.0
SCHEDULE_S: Final = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Pauses after the first failure, the second, ...: three days and three hours in all."""
JITTER: Final = 0.1
GIVE_UP_S: Final = timedelta(days=5).total_seconds()
"""A webhook that takes nothing for so long is disabled."""
SHOWN: Final = 20
"""Tries that are remembered of a message."""
STRANGER_S: Final = 60.0
STRANGER: Final = (
    "not sent: the worker's STILLHOUSE_SECRET is not the one that the webhook was made with"
)


@dataclass(frozen=True)
class Taken(Parcel):
    """A message that this worker sends now."""

    webhook_id: str
    due_at: datetime | None
    """When it is due again: who finds another time there holds it no more."""


class Deliveries:
    """Any worker may send any message."""

    def __init__(self, database: Database, maker: SecretMaker) -> None:
        self._database = database
        self._maker = maker

    def due(self, *, but: Collection[str], most: int) -> list[str]:
        """Webhooks with messages that are due, those that have taken the last one first."""
        statement = (
            select(Delivery.webhook_id)
            .join(Webhook)
            .where(Delivery.state == "waiting", Delivery.due_at <= now())
            .group_by(Delivery.webhook_id, Webhook.failing_since)
            .order_by(Webhook.failing_since.is_not(None), func.min(Delivery.due_at))
            .limit(most)
        )
        if but:
            statement = statement.where(Delivery.webhook_id.not_in(but))
        with self._database.reading() as session:
            return list(session.scalars(statement))

    def take(self, webhook_id: str) -> Taken | None:
        """The message that has been due for longest."""
        with self._database.transaction() as session:
            row = session.scalars(
                select(Delivery)
                .where(
                    Delivery.webhook_id == webhook_id,
                    Delivery.state == "waiting",
                    Delivery.due_at <= now(),
                )
                .order_by(Delivery.due_at, Delivery.id)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if row is None:
                return None
            webhook = session.get_one(Webhook, webhook_id)
            if webhook.made_with != self._maker.name:
                _log(row, Outcome(None, STRANGER, 0.0))
                row.due_at = now_plus(STRANGER_S)
                return None
            row.due_at = now_plus(LEASE_S)
            session.flush()
            session.refresh(row)
            return Taken(
                id=row.id,
                url=webhook.url,
                body=row.payload,
                secrets=self._maker.secrets_of(webhook, datetime.now(UTC)),
                webhook_id=webhook_id,
                due_at=row.due_at,
            )

    def note(self, taken: Taken, outcome: Outcome) -> None:
        """Writes what became of it, and when it is tried again."""
        with self._database.transaction() as session:
            # The webhook first, as everybody does who locks both.
            webhook = repository.get(session, taken.webhook_id, lock=True)
            row = session.get(Delivery, taken.id, with_for_update=True)
            if webhook is None or row is None:
                return  # deleted meanwhile
            _log(row, outcome)
            if outcome.error is None:
                webhook.failing_since = None
            elif webhook.failing_since is None:
                webhook.failing_since = now()
            if row.state == "waiting" and row.due_at == taken.due_at:
                _settle(row, outcome)
            session.flush()
            if outcome.error is not None and webhook.disabled_at is None:
                _despair(session, webhook, outcome)


def _log(row: Delivery, outcome: Outcome) -> None:
    tried = {
        "at": datetime.now(UTC).isoformat(),
        "status": outcome.status,
        "error": outcome.error,
        "seconds": outcome.seconds,
    }
    if outcome.error == STRANGER and row.tries and row.tries[-1]["error"] == STRANGER:
        return  # said once
    row.tries = [*row.tries, tried][-SHOWN:]


def _settle(row: Delivery, outcome: Outcome) -> None:
    if outcome.error is None:
        row.state, row.ended_at = "delivered", now()
        return
    row.failures += 1
    if row.failures > len(SCHEDULE_S):
        row.state, row.ended_at = "failed", now()
        return
    pause_s = SCHEDULE_S[row.failures - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    row.due_at = now_plus(max(pause_s, outcome.pause_s))


def _despair(session: Session, webhook: Webhook, outcome: Outcome) -> None:
    """Disables one that does not want to be told any more, or has taken nothing for days."""
    if outcome.status == GONE:
        service.disable(session, webhook, "It answered 410 Gone.")
        return
    since = session.scalar(
        select(Webhook.failing_since).where(
            Webhook.id == webhook.id, Webhook.failing_since < now_plus(-GIVE_UP_S)
        )
    )
    if since is not None:
        reason = f"It has taken nothing since {since:%Y-%m-%d %H:%M} UTC; at last: {outcome.error}."
        service.disable(session, webhook, reason)
