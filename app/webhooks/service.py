"""The rules of webhooks."""

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import outbox
from app.db import now, now_plus
from app.errors import Conflict, NotFound, TooMany
from app.ids import new_id
from app.projects import repository as projects
from app.spec.problems import Refused
from app.tables import Delivery, Webhook
from app.tenancy import made, project_of
from app.webhooks import repository
from app.webhooks.reach import Reach
from app.webhooks.secrets import SecretMaker, new_salt

MOST: Final = 50
"""Of one project."""
OVERLAP_S: Final = timedelta(hours=24).total_seconds()
"""How long the secret before the last one signs too."""


def create(
    session: Session, wanted: dict[str, Any], *, reach: Reach, maker: SecretMaker
) -> tuple[Webhook, str]:
    """The row, and its secret. Raises Refused and TooMany."""
    host = _checked(reach, wanted["url"])
    projects.lock_project(session, project_of(session))
    used = repository.count(session)
    if used >= MOST:
        raise TooMany(
            "quota_exceeded",
            f"The project has {used} of {MOST} webhooks.",
            hint="Delete one that is not used.",
            headers={"Retry-After": "60"},
        )
    salt = new_salt()
    row = Webhook(
        id=new_id("whk"),
        name=wanted["name"] or host,
        url=wanted["url"],
        events=wanted["events"],
        salt=salt,
        made_with=maker.name,
    )
    session.add(row)
    session.flush()
    return row, maker.secret(row.id, salt)


def change(session: Session, row: Webhook, wanted: dict[str, Any], *, reach: Reach) -> None:
    """What is in `wanted`. Raises Refused."""
    if wanted.get("url") is not None:
        _checked(reach, wanted["url"])
        row.url = wanted["url"]
    if wanted.get("name") is not None:
        row.name = wanted["name"]
    if "events" in wanted:
        row.events = wanted["events"]
    match wanted.get("enabled"):
        case False if row.disabled_at is None:
            disable(session, row, "disabled by request")
        case True if row.disabled_at is not None:
            row.disabled_at = row.disabled_reason = row.failing_since = None
            repository.make_due(session, row.id)
    session.flush()
    session.refresh(row)


def disable(session: Session, row: Webhook, reason: str) -> None:
    """Nothing more is written for it; what waits is kept."""
    row.disabled_at, row.disabled_reason = now(), reason
    repository.hold_back(session, row.id)


def renew_secret(session: Session, row: Webhook, maker: SecretMaker) -> str:
    """Another secret; the one before signs along for a day, if this service's secret made it."""
    same = row.made_with == maker.name
    row.old_salt, row.old_until = (row.salt, now_plus(OVERLAP_S)) if same else (None, None)
    row.salt, row.made_with = new_salt(), maker.name
    session.flush()
    session.refresh(row)
    return maker.secret(row.id, row.salt)


def test(session: Session, row: Webhook) -> Delivery:
    """A message that says nothing. Raises Conflict `webhook_disabled`."""
    _must_be_enabled(row)
    at = session.scalars(select(now())).one()
    sent = outbox.message(row.project_id, row.id, outbox.TEST, at, row.id, "test")
    session.add(sent)
    session.flush()
    made(session, sent.id)
    return sent


def redeliver(session: Session, row: Webhook, delivery: Delivery) -> None:
    """The same message under the same id, now, whether it was taken or not. Raises Conflict."""
    _must_be_enabled(row)
    repository.make_due(session, row.id, delivery.id)
    session.refresh(delivery)


def no_webhook(webhook_id: str) -> NotFound:
    return NotFound("webhook_not_found", f"There is no webhook {webhook_id}.")


def _checked(reach: Reach, url: str) -> str:
    try:
        return reach.check(url).host
    except Refused as refused:
        raise refused.at("/url") from None


def _must_be_enabled(row: Webhook) -> None:
    if row.disabled_at is not None:
        raise Conflict(
            "webhook_disabled",
            f"The webhook {row.id} is disabled: {row.disabled_reason}.",
            hint='Enable it first: PATCH {"enabled": true}.',
        )
