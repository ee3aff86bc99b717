"""What webhooks are asked to be, and what they tell."""

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from app.http.schema import Resource, example
from app.outbox import EventType
from app.spec.base import Spec
from app.spec.dataset import Name
from app.tables import Delivery, Webhook

Url = Annotated[str, Field(min_length=1, max_length=2000)]
Events = Annotated[tuple[EventType, ...], Field(min_length=1, max_length=64)]

ENDED: dict[str, Any] = {
    "name": "our queue",
    "url": "https://hooks.example.org/stillhouse",
    "events": ["job.succeeded", "job.failed"],
}
PAUSED: dict[str, Any] = {"enabled": False}


class WebhookIn(Spec, json_schema_extra=example(ENDED)):
    """Where to send what."""

    name: Name | None = None
    url: Url
    """https; redirects are not followed."""
    events: Events | None = None
    """Null for all, those to come too."""


class WebhookChange(Spec, json_schema_extra=example(PAUSED)):
    """What is to change; what is left out stays."""

    name: Name | None = None
    url: Url | None = None
    events: Events | None = None
    """Null for all."""
    enabled: bool | None = None
    """True sends what has waited meanwhile."""


_ID = "whk_06a1x7k2m3n4p5q6r7s8t9v0w"
WEBHOOK: dict[str, Any] = {
    "id": _ID,
    **ENDED,
    "enabled": True,
    "disabled_reason": None,
    "failing_since": None,
    "created_at": "2026-03-01T12:00:00Z",
    "links": {"self": f"/webhooks/{_ID}", "deliveries": f"/webhooks/{_ID}/deliveries"},
}


class WebhookOut(Resource, json_schema_extra=example(WEBHOOK)):
    """A webhook, without its secret."""

    id: str
    name: str
    url: str
    events: list[str] | None
    """Null for all."""
    enabled: bool
    disabled_reason: str | None
    """Who or what turned it off: it answered 410, or took nothing for days."""
    failing_since: datetime | None
    """The first failure since a message was taken."""
    created_at: datetime
    links: dict[str, str]

    @classmethod
    def of(cls, row: Webhook) -> "WebhookOut":
        here = f"/webhooks/{row.id}"
        return cls(
            id=row.id,
            name=row.name,
            url=row.url,
            events=row.events,
            enabled=row.disabled_at is None,
            disabled_reason=row.disabled_reason,
            failing_since=row.failing_since,
            created_at=row.created_at,
            links={"self": here, "deliveries": f"{here}/deliveries"},
        )


NEW_WEBHOOK: dict[str, Any] = {**WEBHOOK, "secret": "whsec_" + "x" * 43 + "="}


class NewWebhookOut(WebhookOut, Resource, json_schema_extra=example(NEW_WEBHOOK)):
    """A webhook with a new secret."""

    secret: str | None = None
    """Signs what is sent: `standardwebhooks.Webhook(secret).verify(body, headers)`. It is told this
    once: an answer that is replayed for its Idempotency-Key has null here."""


DELIVERY: dict[str, Any] = {
    "id": "whd_06a1x7k2m3n4p5q6r7s8t9v0w",
    "webhook": _ID,
    "type": "job.succeeded",
    "payload": {
        "type": "job.succeeded",
        "timestamp": "2026-03-01T12:00:00.25Z",
        "data": {"id": "job_06a1x7k2m3n4p5q6r7s8t9v0w", "state": "succeeded"},
    },
    "state": "waiting",
    "tries": [
        {"at": "2026-03-01T12:00:01Z", "status": 503, "error": "answered 503", "seconds": 0.2}
    ],
    "next_try_at": "2026-03-01T12:00:06Z",
    "created_at": "2026-03-01T12:00:00.25Z",
    "ended_at": None,
}


class Try(Resource):
    """One time that a message was sent."""

    at: datetime
    status: int | None
    """Null where nothing was answered."""
    error: str | None
    """Null where the message was taken."""
    seconds: float


class DeliveryOut(Resource, json_schema_extra=example(DELIVERY)):
    """A message to a webhook."""

    id: str
    """The header `webhook-id`, the same in every try."""
    webhook: str
    type: str
    payload: dict[str, Any]
    state: str
    """waiting, delivered, or failed: after ten tries in three days."""
    tries: list[Try]
    """The last twenty."""
    next_try_at: datetime | None
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, row: Delivery) -> "DeliveryOut":
        return cls(
            id=row.id,
            webhook=row.webhook_id,
            type=row.type,
            payload=json.loads(row.payload),
            state=row.state,
            tries=[Try(**one) for one in row.tries],
            next_try_at=row.due_at if row.state == "waiting" else None,
            created_at=row.created_at,
            ended_at=row.ended_at,
        )
