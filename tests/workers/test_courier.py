"""Messages to webhooks, sent to real receivers on loopback addresses that are open for tests."""

import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme
from sqlalchemy import select, update
from standardwebhooks import Webhook as Receiver
from standardwebhooks.webhooks import WebhookVerificationError

from app.db import Database, now_plus
from app.ids import new_id
from app.settings import Settings
from app.states import State
from app.storage import DirectoryStorage
from app.tables import DEFAULT_PROJECT, Delivery, Webhook
from app.webhooks import repository, service
from app.webhooks.reach import Reach
from app.webhooks.secrets import SecretMaker, new_salt
from tests.workers.rows import add_job
from tests.workers.webs import give, redirect, web
from workers import deliveries
from workers.blobcache import BlobCache
from workers.courier import Courier
from workers.deliveries import Deliveries
from workers.janitor import Janitor
from workers.ledger import Ledger
from workers.post import Post

OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
MAKER = SecretMaker(b"the service's own")
REACH = Reach((ipaddress.ip_network(f"{OUTSIDE}/32"),))


def add_webhook(database: Database, url: str, **values: Any) -> str:
    identity = new_id("whk")
    with database.transaction() as session:
        session.add(
            Webhook(
                id=identity,
                project_id=DEFAULT_PROJECT,
                name="w",
                url=url,
                salt=new_salt(),
                made_with=MAKER.name,
                **values,
            )
        )
    return identity


def add_message(database: Database, webhook_id: str) -> str:
    with database.transaction() as session:
        webhook = session.get_one(Webhook, webhook_id)
        return service.test(session, webhook).id


def row(database: Database, delivery_id: str) -> Delivery:
    with database.reading() as session:
        return session.get_one(Delivery, delivery_id)


def hook(database: Database, webhook_id: str) -> Webhook:
    with database.reading() as session:
        return session.get_one(Webhook, webhook_id)


def make_due(database: Database) -> None:
    with database.transaction() as session:
        session.execute(update(Delivery).values(due_at=now_plus(-1)))


@pytest.fixture
def send(database: Database) -> Iterator[Callable[..., None]]:
    """Looks once and waits for everything that was begun."""
    couriers: list[Courier] = []

    def once(reach: Reach = REACH, maker: SecretMaker = MAKER, **options: Any) -> None:
        post = Post(reach, **{"timeout_s": 5.0, **options})
        courier = Courier(Deliveries(database, maker), post, threading.Event())
        couriers.append(courier)
        courier.look()
        courier.close()

    yield once
    for courier in couriers:
        courier.close()


def failing(*statuses: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answers with each in turn, and then with the last for good."""
    left = list(statuses)

    def behave(request: BaseHTTPRequestHandler) -> None:
        give(b"", left.pop(0) if len(left) > 1 else left[0], **headers)(request)

    return behave


def test_a_receiver_can_verify_what_happened(database: Database, send: Callable[..., None]) -> None:
    with web(OUTSIDE, give(b"thanks")) as receiver:
        webhook_id = add_webhook(database, f"http://{OUTSIDE}:{receiver.port}/in?to=us")
        ledger = Ledger(database, lease_s=60, max_attempts=3)
        claim = ledger.claim(add_job(database), "w")
        assert claim is not None
        ledger.finish(claim, State.SUCCEEDED, reason="finished")
        send()
    ((path, headers),) = receiver.seen
    assert path == "/in?to=us"
    assert headers["content-type"] == "application/json"
    secret = MAKER.secret(webhook_id, hook(database, webhook_id).salt)
    message = Receiver(secret).verify(receiver.bodies[0], headers)
    assert message["type"] == "job.succeeded"
    assert message["data"] == {"id": claim.job_id, "state": "succeeded"}
    with pytest.raises(WebhookVerificationError):
        Receiver(secret).verify(receiver.bodies[0] + b" ", headers)
    with database.reading() as session:
        delivery = session.scalars(select(Delivery)).one()
    assert headers["webhook-id"] == delivery.id
    assert (delivery.state, delivery.tries[0]["status"]) == ("delivered", 200)
    assert delivery.ended_at is not None


def test_after_failures_it_is_tried_again_under_the_same_id(
    database: Database, send: Callable[..., None]
) -> None:
    with web(OUTSIDE, failing(500, 503, 204)) as receiver:
        webhook_id = add_webhook(database, f"http://{OUTSIDE}:{receiver.port}/")
        delivery_id = add_message(database, webhook_id)
        pauses = []
        for _ in range(3):
            before = time.time()
            send()
            send()  # nothing is due
            pauses.append(_due(database, delivery_id) - before)
            make_due(database)
        send()
    assert len(receiver.seen) == 3
    assert {headers["webhook-id"] for _, headers in receiver.seen} == {delivery_id}
    assert len({bytes(body) for body in receiver.bodies}) == 1
    assert 4 < pauses[0] < 8
    assert 260 < pauses[1] < 340
    delivery = row(database, delivery_id)
    assert [one["status"] for one in delivery.tries] == [500, 503, 204]
    assert [one["error"] for one in delivery.tries] == ["answered 500", "answered 503", None]
    assert (delivery.state, delivery.failures) == ("delivered", 2)
    assert hook(database, webhook_id).failing_since is None


def _due(database: Database, delivery_id: str) -> float:
    due_at = row(database, delivery_id).due_at
    assert due_at is not None
    return due_at.timestamp()


def test_a_receiver_may_ask_for_a_longer_pause(
    database: Database, send: Callable[..., None]
) -> None:
    with web(OUTSIDE, failing(429, Retry_After="900")) as receiver:
        delivery_id = add_message(
            database, add_webhook(database, f"http://{OUTSIDE}:{receiver.port}/")
        )
        send()
    assert 890 < _due(database, delivery_id) - time.time() < 910


def test_after_the_last_failure_it_has_failed(
    database: Database, send: Callable[..., None]
) -> None:
    webhook_id = add_webhook(database, f"http://{OUTSIDE}:9/")  # nobody listens there
    delivery_id = add_message(database, webhook_id)
    for _ in range(len(deliveries.SCHEDULE_S) + 1):
        make_due(database)
        send()
    make_due(database)
    send()
    delivery = row(database, delivery_id)
    assert (delivery.state, len(delivery.tries)) == ("failed", 10)
    assert "ConnectError" in delivery.tries[-1]["error"]
    with database.transaction() as session:
        repository.make_due(session, webhook_id, delivery_id)
    send()
    assert len(row(database, delivery_id).tries) == 11
    assert hook(database, webhook_id).disabled_at is None


def test_redirects_are_not_followed(database: Database, send: Callable[..., None]) -> None:
    with web(INSIDE, give(b"secret")) as inside:
        target = f"http://{INSIDE}:{inside.port}/"
        with web(OUTSIDE, redirect(target, 307)) as receiver:
            url = f"http://{OUTSIDE}:{receiver.port}/"
            delivery_id = add_message(database, add_webhook(database, url))
            send()
    assert inside.seen == []
    assert "redirects are not followed" in row(database, delivery_id).tries[0]["error"]


@pytest.mark.parametrize(
    "answers", [[INSIDE], [OUTSIDE, INSIDE], ["169.254.169.254"], ["::1"]], ids=str
)
def test_a_name_with_an_inner_address_is_sent_nothing(
    database: Database, send: Callable[..., None], answers: list[str]
) -> None:
    with web(INSIDE, give(b"secret")) as inside:
        url = f"http://hooks.example.org:{inside.port}/"
        delivery_id = add_message(database, add_webhook(database, url))
        send(resolve=lambda _host, _port: answers)
    assert inside.seen == []
    assert "Nothing is sent to hooks.example.org" in row(database, delivery_id).tries[0]["error"]


def test_the_address_that_was_checked_is_the_one_that_is_used(
    database: Database, send: Callable[..., None]
) -> None:
    """A name that has another address when it is asked again (DNS rebinding)."""
    answers = [[OUTSIDE], [INSIDE]]
    with (
        web(INSIDE, give(b"secret")) as inside,
        web(OUTSIDE, give(b""), port=inside.port) as receiver,
    ):
        url = f"http://hooks.example.org:{inside.port}/"
        add_message(database, add_webhook(database, url))
        send(resolve=lambda _host, _port: answers.pop(0))
    assert inside.seen == []
    assert receiver.seen[0][1]["host"] == f"hooks.example.org:{inside.port}"


def test_a_network_that_was_closed_meanwhile(database: Database, send: Callable[..., None]) -> None:
    with web(OUTSIDE, give(b"")) as receiver:
        url = f"http://{OUTSIDE}:{receiver.port}/"
        delivery_id = add_message(database, add_webhook(database, url))
        send(Reach())
    assert receiver.seen == []
    assert "https" in row(database, delivery_id).tries[0]["error"]


def test_https_is_verified(database: Database, send: Callable[..., None], tmp_path: Path) -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hooks.example.org").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with web(OUTSIDE, give(b""), tls=server) as receiver:
        ids = [
            add_message(database, add_webhook(database, f"https://{name}:{receiver.port}/"))
            for name in ("hooks.example.org", "other.example.org")
        ]
        send(resolve=lambda _host, _port: [OUTSIDE], tls=trusting)
    assert [row(database, one).state for one in ids] == ["delivered", "waiting"]
    assert "CERTIFICATE_VERIFY_FAILED" in row(database, ids[1]).tries[0]["error"]


def hanging(seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
    def behave(request: BaseHTTPRequestHandler) -> None:
        until = time.monotonic() + seconds
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while time.monotonic() < until:
            request.wfile.write(b"X-Slow: 1\r\n")
            time.sleep(0.05)

    return behave


def test_a_receiver_that_hangs_holds_up_nobody_else(
    database: Database, send: Callable[..., None]
) -> None:
    with web(OUTSIDE, hanging(4)) as slow, web(OUTSIDE, give(b"")) as quick:
        hanging_id, quick_id = (
            add_message(database, add_webhook(database, f"http://{OUTSIDE}:{one.port}/"))
            for one in (slow, quick)
        )
        began = time.monotonic()
        send(timeout_s=0.5)
        assert time.monotonic() - began < 2
    assert row(database, quick_id).state == "delivered"
    assert "Timeout" in row(database, hanging_id).tries[0]["error"]


def test_a_long_answer_is_not_read(database: Database, send: Callable[..., None]) -> None:
    sent = []

    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        until = time.monotonic() + 5
        while time.monotonic() < until:
            request.wfile.write(b"x" * 65536)
            sent.append(65536)

    with web(OUTSIDE, endless) as receiver:
        url = f"http://{OUTSIDE}:{receiver.port}/"
        delivery_id = add_message(database, add_webhook(database, url))
        send()
    assert row(database, delivery_id).state == "delivered"
    assert sum(sent) < 16 * 1024 * 1024  # what buffers between the two take


def test_gone_disables_at_once(database: Database, send: Callable[..., None]) -> None:
    with web(OUTSIDE, give(b"", 410)) as receiver:
        webhook_id = add_webhook(database, f"http://{OUTSIDE}:{receiver.port}/")
        ids = [add_message(database, webhook_id) for _ in range(2)]
        send()
    assert len(receiver.seen) == 1
    assert hook(database, webhook_id).disabled_reason == "It answered 410 Gone."
    assert [row(database, one).due_at for one in ids] == [None, None]


def test_nothing_taken_for_days_disables(database: Database, send: Callable[..., None]) -> None:
    with web(OUTSIDE, give(b"", 500)) as receiver:
        webhook_id = add_webhook(
            database,
            f"http://{OUTSIDE}:{receiver.port}/",
        )
        add_message(database, webhook_id)
        send()
        assert hook(database, webhook_id).disabled_at is None
        with database.transaction() as session:
            since = now_plus(-deliveries.GIVE_UP_S - 1)
            session.execute(update(Webhook).values(failing_since=since))
        make_due(database)
        send()
    reason = hook(database, webhook_id).disabled_reason
    assert reason is not None
    assert reason.endswith("at last: answered 500.")


def test_a_killed_worker_loses_none(
    database: Database, send: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with web(OUTSIDE, give(b"")) as receiver:
        webhook_id = add_webhook(database, f"http://{OUTSIDE}:{receiver.port}/")
        delivery_id = add_message(database, webhook_id)
        monkeypatch.setattr(deliveries, "LEASE_S", 0.4)
        box = Deliveries(database, MAKER)
        dead = box.take(webhook_id)  # and is heard of no more
        assert dead is not None
        send()
        assert receiver.seen == []
        time.sleep(0.5)
        send()
    assert row(database, delivery_id).state == "delivered"
    # One that was only slow says its part later, and changes nothing.
    box.note(dead, Post(REACH).send(dead))
    assert row(database, delivery_id).state == "delivered"


def test_of_many_workers_one_sends_each(database: Database) -> None:
    webhook_id = add_webhook(database, f"http://{OUTSIDE}:9/")
    ids = {add_message(database, webhook_id) for _ in range(12)}
    start = threading.Barrier(4)
    taken: list[str] = []

    def race() -> None:
        box = Deliveries(database, MAKER)
        start.wait()
        while (one := box.take(webhook_id)) or len(taken) < 12:
            if one:
                taken.append(one.id)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(taken) == sorted(ids)


def test_a_worker_with_another_secret_says_so(
    database: Database, send: Callable[..., None]
) -> None:
    with web(OUTSIDE, give(b"")) as receiver:
        delivery_id = add_message(
            database, add_webhook(database, f"http://{OUTSIDE}:{receiver.port}/")
        )
        for _ in range(2):
            make_due(database)
            send(maker=SecretMaker(b"another"))
        assert receiver.seen == []
        (said,) = row(database, delivery_id).tries
        assert "STILLHOUSE_SECRET" in said["error"]
        make_due(database)
        send()
    assert row(database, delivery_id).state == "delivered"


def test_an_old_secret_signs_along(database: Database, send: Callable[..., None]) -> None:
    with web(OUTSIDE, give(b"")) as receiver:
        webhook_id = add_webhook(database, f"http://{OUTSIDE}:{receiver.port}/")
        old = MAKER.secret(webhook_id, hook(database, webhook_id).salt)
        with database.transaction() as session:
            webhook = session.get_one(Webhook, webhook_id)
            new = service.renew_secret(session, webhook, MAKER)
        add_message(database, webhook_id)
        send()
        with database.transaction() as session:
            session.execute(update(Webhook).values(old_until=now_plus(-1)))
        add_message(database, webhook_id)
        send()
    (both, one), bodies = [headers for _, headers in receiver.seen], receiver.bodies
    for secret in (old, new):
        assert Receiver(secret).verify(bodies[0], both)["type"] == "webhook.test"
    assert json.loads(bodies[1])["type"] == Receiver(new).verify(bodies[1], one)["type"]
    with pytest.raises(WebhookVerificationError):
        Receiver(old).verify(bodies[1], one)


def test_old_messages_are_forgotten(
    database: Database, storage: DirectoryStorage, settings: Settings
) -> None:
    webhook_id = add_webhook(database, f"http://{OUTSIDE}:9/")
    old, new = (add_message(database, webhook_id) for _ in range(2))
    with database.transaction() as session:
        days = now_plus(-31 * 24 * 3600)
        session.execute(update(Delivery).where(Delivery.id == old).values(created_at=days))
    cache = BlobCache(storage, settings.home, 0)
    graces = {"grace_s": 1.0, "stray_grace_s": 1.0}
    Janitor(database=database, storage=storage, cache=cache, home=settings.home, **graces).clean()
    with database.reading() as session:
        assert session.scalars(select(Delivery.id)).all() == [new]
