"""SQL on webhooks and their deliveries."""

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session

from app.db import now
from app.tables import Delivery, Webhook


def listed() -> Select[Webhook]:
    return select(Webhook)


def get(session: Session, webhook_id: str, *, lock: bool = False) -> Webhook | None:
    # Not against those who name it: a job that ends must not wait for a webhook.
    return session.get(Webhook, webhook_id, with_for_update={"key_share": True} if lock else None)


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Webhook)) or 0


def remove(session: Session, webhook_id: str) -> None:
    """With its deliveries."""
    session.execute(delete(Webhook).where(Webhook.id == webhook_id))


def deliveries(webhook_id: str) -> Select[Delivery]:
    return select(Delivery).where(Delivery.webhook_id == webhook_id)


def delivery(session: Session, webhook_id: str, delivery_id: str) -> Delivery | None:
    return session.scalars(deliveries(webhook_id).where(Delivery.id == delivery_id)).one_or_none()


def hold_back(session: Session, webhook_id: str) -> None:
    """What waits, until the webhook is enabled again."""
    statement = update(Delivery).where(
        Delivery.webhook_id == webhook_id, Delivery.state == "waiting"
    )
    session.execute(statement.values(due_at=None), execution_options={"synchronize_session": False})


def make_due(session: Session, webhook_id: str, delivery_id: str | None = None) -> None:
    """Everything that waits, or this one whatever became of it: now, and with all its tries."""
    statement = update(Delivery).where(Delivery.webhook_id == webhook_id)
    if delivery_id is None:
        statement = statement.where(Delivery.state == "waiting")
    else:
        statement = statement.where(Delivery.id == delivery_id)
    values = {"state": "waiting", "failures": 0, "due_at": now(), "ended_at": None}
    session.execute(statement.values(values), execution_options={"synchronize_session": False})
