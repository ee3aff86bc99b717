"""/webhooks."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response
from sqlalchemy.orm import Session

from app.dependencies import DatabaseDep, ReachDep, SecretMakerDep
from app.errors import NotFound
from app.http.answers import Answer
from app.http.idempotency import IdempotencyDep
from app.http.pages import Page, PagerDep
from app.http.parsing import StrictRoute
from app.http.problems import problems
from app.tables import Delivery, Webhook
from app.webhooks import repository, service
from app.webhooks.schemas import (
    ENDED,
    PAUSED,
    DeliveryOut,
    NewWebhookOut,
    WebhookChange,
    WebhookIn,
    WebhookOut,
)

router = APIRouter(tags=["webhooks"], route_class=StrictRoute)

WebhookId = Annotated[str, Path(pattern=r"^whk_[0-9a-z]{1,40}$")]
DeliveryId = Annotated[str, Path(pattern=r"^whd_[0-9a-z]{1,40}$")]


@router.post(
    "/webhooks",
    operation_id="create_webhook",
    summary="Make a webhook",
    status_code=201,
    response_model=NewWebhookOut,
    responses=problems(400, 413, 415, 422),
)
def create_webhook(
    wanted: Annotated[WebhookIn, Body(examples=[ENDED])],
    database: DatabaseDep,
    reach: ReachDep,
    maker: SecretMakerDep,
    idempotency: IdempotencyDep,
) -> Response:
    """Messages are signed as standardwebhooks.com says, and sent until they are answered 2xx, at
    most ten times in three days. The answer holds the secret, this once."""

    def create(session: Session) -> Answer:
        row, secret = service.create(session, wanted.model_dump(), reach=reach, maker=maker)
        body = {**WebhookOut.of(row).model_dump(mode="json"), "secret": None}
        return Answer(201, body, {"Location": f"/webhooks/{row.id}"}, secrets={"secret": secret})

    return idempotency.once(database, create)


@router.get(
    "/webhooks", operation_id="list_webhooks", summary="List webhooks", responses=problems(400)
)
def list_webhooks(database: DatabaseDep, pager: PagerDep) -> Page[WebhookOut]:
    with database.reading() as session:
        rows, cursor = pager.read(session, repository.listed(), Webhook)
        return Page(data=[WebhookOut.of(row) for row in rows], next_cursor=cursor)


@router.get(
    "/webhooks/{webhook_id}",
    operation_id="get_webhook",
    summary="Show a webhook",
    responses=problems(404),
)
def get_webhook(webhook_id: WebhookId, database: DatabaseDep) -> WebhookOut:
    with database.reading() as session:
        return WebhookOut.of(_webhook(session, webhook_id))


@router.patch(
    "/webhooks/{webhook_id}",
    operation_id="change_webhook",
    summary="Change a webhook, turn it off or on",
    responses=problems(400, 404, 413, 415, 422),
)
def change_webhook(
    webhook_id: WebhookId,
    wanted: Annotated[WebhookChange, Body(examples=[PAUSED])],
    database: DatabaseDep,
    reach: ReachDep,
) -> WebhookOut:
    """One that was disabled because nothing was taken is enabled here again."""
    with database.transaction() as session:
        row = _webhook(session, webhook_id, lock=True)
        service.change(session, row, wanted.model_dump(exclude_unset=True), reach=reach)
        return WebhookOut.of(row)


@router.delete(
    "/webhooks/{webhook_id}",
    operation_id="delete_webhook",
    summary="Delete a webhook",
    status_code=204,
    responses=problems(404),
)
def delete_webhook(webhook_id: WebhookId, database: DatabaseDep) -> None:
    """With its deliveries; what waits is not sent."""
    with database.transaction() as session:
        _webhook(session, webhook_id, lock=True)
        repository.remove(session, webhook_id)


@router.post(
    "/webhooks/{webhook_id}/secret",
    operation_id="renew_webhook_secret",
    summary="Make a new secret",
    response_model=NewWebhookOut,
    responses=problems(400, 404, 413, 415, 422),
)
def renew_webhook_secret(
    webhook_id: WebhookId,
    database: DatabaseDep,
    maker: SecretMakerDep,
    idempotency: IdempotencyDep,
) -> Response:
    """For a day messages carry two signatures, by the old secret and the new one."""

    def renew(session: Session) -> Answer:
        row = _webhook(session, webhook_id, lock=True)
        secret = service.renew_secret(session, row, maker)
        body = {**WebhookOut.of(row).model_dump(mode="json"), "secret": None}
        return Answer(200, body, secrets={"secret": secret})

    return idempotency.once(database, renew)


@router.post(
    "/webhooks/{webhook_id}/test",
    operation_id="test_webhook",
    summary="Send a message that says nothing",
    status_code=202,
    response_model=DeliveryOut,
    responses=problems(400, 404, 409, 413, 415, 422),
)
def test_webhook(
    webhook_id: WebhookId, database: DatabaseDep, idempotency: IdempotencyDep
) -> Response:
    """Of type `webhook.test`, whatever the webhook listens to. What became of it is told at
    Location."""

    def create(session: Session) -> Answer:
        sent = service.test(session, _webhook(session, webhook_id))
        here = f"/webhooks/{webhook_id}/deliveries/{sent.id}"
        headers = {"Location": here, "Retry-After": "1"}
        return Answer(202, DeliveryOut.of(sent).model_dump(mode="json"), headers)

    return idempotency.once(database, create)


@router.get(
    "/webhooks/{webhook_id}/deliveries",
    operation_id="list_deliveries",
    summary="List messages to a webhook",
    responses=problems(400, 404),
)
def list_deliveries(
    webhook_id: WebhookId, database: DatabaseDep, pager: PagerDep
) -> Page[DeliveryOut]:
    """Those of the last thirty days."""
    with database.reading() as session:
        _webhook(session, webhook_id)
        rows, cursor = pager.read(session, repository.deliveries(webhook_id), Delivery)
        return Page(data=[DeliveryOut.of(row) for row in rows], next_cursor=cursor)


@router.get(
    "/webhooks/{webhook_id}/deliveries/{delivery_id}",
    operation_id="get_delivery",
    summary="Show a message to a webhook",
    responses=problems(404),
)
def get_delivery(
    webhook_id: WebhookId, delivery_id: DeliveryId, database: DatabaseDep
) -> DeliveryOut:
    with database.reading() as session:
        return DeliveryOut.of(_delivery(session, webhook_id, delivery_id))


@router.post(
    "/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
    operation_id="redeliver",
    summary="Send a message again",
    status_code=202,
    responses=problems(404, 409),
)
def redeliver(webhook_id: WebhookId, delivery_id: DeliveryId, database: DatabaseDep) -> DeliveryOut:
    """The same under the same id, at once, whether it was taken before or not."""
    with database.transaction() as session:
        row = _webhook(session, webhook_id, lock=True)
        delivery = _delivery(session, webhook_id, delivery_id)
        service.redeliver(session, row, delivery)
        return DeliveryOut.of(delivery)


def _webhook(session: Session, webhook_id: str, *, lock: bool = False) -> Webhook:
    row = repository.get(session, webhook_id, lock=lock)
    if row is None:
        raise service.no_webhook(webhook_id)
    return row


def _delivery(session: Session, webhook_id: str, delivery_id: str) -> Delivery:
    row = repository.delivery(session, webhook_id, delivery_id)
    if row is None:
        _webhook(session, webhook_id)
        raise NotFound("delivery_not_found", f"There is no delivery {delivery_id} of this webhook.")
    return row
