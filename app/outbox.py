"""What webhooks are told: written in the transaction of what happened, and sent by workers later.

So there is no message of what was rolled back, and none is lost with the process that knew of it.
"""

from datetime import datetime
from typing import Final, Literal, get_args

from pydantic_core import to_json
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import KEPT, now
from app.ids import new_id
from app.tables import Delivery, Webhook

EventType = Literal[
    "job.paused",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "teacher.ready",
    "teacher.rejected",
    "dataset.ready",
    "dataset.rejected",
    "sweep.succeeded",
    "sweep.failed",
    "sweep.cancelled",
]
EVENT_TYPES: Final[tuple[str, ...]] = get_args(EventType)
TEST: Final = "webhook.test"
"""Sent when asked for, whatever the webhook listens to."""


def announce(session: Session, project_id: str, type_: str, subject: str, state: str) -> None:
    """To every webhook of the project that listens to this."""
    listening = session.execute(
        select(Webhook.id, Webhook.events, now())
        .where(Webhook.project_id == project_id, Webhook.disabled_at.is_(None))
        # One that is deleted meanwhile would take this transaction, a job's last, down with it.
        .with_for_update(**KEPT)
    )
    for webhook_id, events, at in listening.all():
        if events is None or type_ in events:
            session.add(message(project_id, webhook_id, type_, at, subject, state))


def message(
    project_id: str, webhook_id: str, type_: str, at: datetime, subject: str, state: str
) -> Delivery:
    """Thin: what happened to what, and no more than an id of it. Whoever wants more asks for it,
    with a key."""
    payload = {"type": type_, "timestamp": at, "data": {"id": subject, "state": state}}
    return Delivery(
        id=new_id("whd"),
        project_id=project_id,
        webhook_id=webhook_id,
        type=type_,
        payload=to_json(payload).decode(),
    )
