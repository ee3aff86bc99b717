"""/webhooks: what may be asked for, what is told, and what is never told again."""

from base64 import b64decode
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app.db import Database
from app.settings import Settings
from app.tables import Dataset, Delivery, IdempotencyKey, Webhook
from tests.api.callers import add_key, add_project, client, guarded
from tests.api.helpers import Rows, assert_problem, job_body, serve
from workers.verdicts import Verdicts

URL = "https://hooks.example.org/in?to=us"


def make(api: httpx.Client, **changes: Any) -> dict[str, Any]:
    answer = api.post("/webhooks", json={"url": URL, **changes})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def deliveries(api: httpx.Client, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(webhook["links"]["deliveries"]).json()["data"]
    return found


def test_one_is_made_and_its_secret_told_once(api: httpx.Client, database: Database) -> None:
    answer = api.post("/webhooks", json={"url": URL, "name": "n"}, headers={"Idempotency-Key": "k"})
    made = answer.json()
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert len(b64decode(secret.removeprefix("whsec_"))) == 32
    assert made["id"].startswith("whk_")
    assert answer.headers["location"] == f"/webhooks/{made['id']}"
    assert (made["name"], made["url"], made["events"], made["enabled"]) == ("n", URL, None, True)
    again = api.post("/webhooks", json={"url": URL, "name": "n"}, headers={"Idempotency-Key": "k"})
    assert again.json() == {**made, "secret": None}
    assert api.get(f"/webhooks/{made['id']}").json() == made
    assert api.get("/webhooks").json()["data"] == [made]
    # It is nowhere in the rows.
    with database.reading() as session:
        rows = [
            session.get_one(Webhook, made["id"]),
            session.scalars(sa.select(IdempotencyKey)).one(),
        ]
    assert secret not in str([vars(row) for row in rows])


def test_another_secret(api: httpx.Client) -> None:
    made = make(api)
    renewed = api.post(f"/webhooks/{made['id']}/secret")
    assert renewed.status_code == 200
    assert renewed.json()["secret"] != made["secret"]
    assert make(api)["secret"] not in (made["secret"], renewed.json()["secret"])


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://hooks.example.org/", "https_required"),
        ("s3://bucket/key", "https_required"),
        ("ftp://hooks.example.org/", "unsupported_scheme"),
        ("https://127.0.0.1/", "forbidden_address"),
        ("https://localhost:8000/", "forbidden_address"),
        ("https://[::1]/", "forbidden_address"),
        ("https://[::ffff:127.0.0.1]/", "forbidden_address"),
        ("https://10.0.0.1/", "forbidden_address"),
        ("https://169.254.169.254/latest/meta-data", "forbidden_address"),
        ("https://2130706433/", "forbidden_address"),
        ("https://0x7f.1/", "forbidden_address"),
        ("https://user:password@hooks.example.org/", "credentials_in_uri"),
        ("https://hooks.example.org/../in", "unsafe_path"),
        ("hooks.example.org", "invalid_uri"),
    ],
)
def test_addresses_that_nothing_is_sent_to(api: httpx.Client, url: str, code: str) -> None:
    assert_problem(api.post("/webhooks", json={"url": url}), 422, code, "/url")
    made = make(api)
    assert_problem(api.patch(f"/webhooks/{made['id']}", json={"url": url}), 422, code, "/url")
    assert api.get(f"/webhooks/{made['id']}").json()["url"] == URL


def test_inner_networks_that_are_open(settings: Settings) -> None:
    open_ = settings.model_copy(update={"webhook_allow_networks": ("10.1.0.0/16",)})
    with serve(open_) as address, client(address) as api:
        make(api, url="http://10.1.2.3:9000/in")
        make(api, url="http://inner.example.org/")  # known by its address when it is sent to
        for url in ("http://10.2.0.1/", "http://169.254.169.254/"):
            assert_problem(api.post("/webhooks", json={"url": url}), 422, "forbidden_address")
        assert_problem(
            api.post("/webhooks", json={"url": "http://9.9.9.9/"}), 422, "https_required"
        )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": URL, "events": []},
        {"url": URL, "events": ["job.exploded"]},
        {"url": URL, "x": 1},
    ],
)
def test_bodies_that_are_none(api: httpx.Client, body: dict[str, Any]) -> None:
    assert api.post("/webhooks", json=body).status_code == 422


def test_messages_are_written_with_what_happens(
    api: httpx.Client, rows: Rows, database: Database
) -> None:
    everything, ended = make(api), make(api, events=["job.cancelled"])
    off = make(api)
    api.patch(f"/webhooks/{off['id']}", json={"enabled": False})
    job = api.post("/jobs", json=job_body(rows)).json()["id"]
    for verb in ("pause", "resume", "cancel", "cancel"):
        assert api.post(f"/jobs/{job}/{verb}").is_success
    assert [one["type"] for one in deliveries(api, everything)] == ["job.cancelled", "job.paused"]
    assert deliveries(api, off) == []
    (one,) = deliveries(api, ended)
    assert one["payload"]["data"] == {"id": job, "state": "cancelled"}
    assert one["payload"]["type"] == one["type"] == "job.cancelled"
    assert set(one["payload"]) == {"type", "timestamp", "data"}
    assert (one["state"], one["tries"], one["ended_at"]) == ("waiting", [], None)
    assert one["next_try_at"] is not None
    assert api.get(f"/webhooks/{ended['id']}/deliveries/{one['id']}").json() == one


def test_what_is_refused_is_not_told(api: httpx.Client, rows: Rows) -> None:
    webhook = make(api)
    job = rows.job(state="succeeded")
    assert api.post(f"/jobs/{job}/cancel").status_code == 409
    assert deliveries(api, webhook) == []


def test_off_and_on_again(api: httpx.Client, rows: Rows) -> None:
    webhook = make(api)
    url = f"/webhooks/{webhook['id']}"
    api.post(f"/jobs/{rows.job(state='queued')}/cancel")
    off = api.patch(url, json={"enabled": False}).json()
    assert (off["enabled"], off["disabled_reason"]) == (False, "disabled by request")
    (kept,) = deliveries(api, webhook)
    assert (kept["state"], kept["next_try_at"]) == ("waiting", None)
    api.post(f"/jobs/{rows.job(state='queued')}/cancel")
    assert len(deliveries(api, webhook)) == 1
    assert_problem(api.post(f"{url}/test"), 409, "webhook_disabled")
    again = f"{url}/deliveries/{kept['id']}/redeliver"
    assert_problem(api.post(again), 409, "webhook_disabled")

    on = api.patch(url, json={"enabled": True, "name": "m", "events": ["job.failed"]}).json()
    assert (on["enabled"], on["disabled_reason"]) == (True, None)
    assert (on["name"], on["events"]) == ("m", ["job.failed"])
    assert deliveries(api, webhook)[0]["next_try_at"] is not None
    assert api.patch(url, json={"events": None}).json()["events"] is None


def test_a_message_that_says_nothing(api: httpx.Client) -> None:
    webhook = make(api, events=["job.failed"])
    header = {"Idempotency-Key": "k"}
    sent = api.post(f"/webhooks/{webhook['id']}/test", headers=header)
    assert sent.status_code == 202
    assert sent.json()["type"] == "webhook.test"
    assert api.get(sent.headers["location"]).json() == sent.json()
    assert api.post(f"/webhooks/{webhook['id']}/test", headers=header).json() == sent.json()
    assert len(deliveries(api, webhook)) == 1


def test_sending_again(api: httpx.Client, database: Database) -> None:
    webhook = make(api)
    sent = api.post(f"/webhooks/{webhook['id']}/test").json()
    with database.transaction() as session:
        session.execute(sa.update(Delivery).values(state="failed", failures=10))
    again = api.post(f"/webhooks/{webhook['id']}/deliveries/{sent['id']}/redeliver")
    assert again.status_code == 202
    assert (again.json()["id"], again.json()["state"]) == (sent["id"], "waiting")
    with database.reading() as session:
        assert session.get_one(Delivery, sent["id"]).failures == 0
    wrong = f"/webhooks/{make(api)['id']}/deliveries/{sent['id']}"
    assert_problem(api.get(wrong), 404, "delivery_not_found")
    assert_problem(api.post(f"{wrong}/redeliver"), 404, "delivery_not_found")


def test_deleting(api: httpx.Client, database: Database) -> None:
    webhook = make(api)
    api.post(f"/webhooks/{webhook['id']}/test")
    assert api.delete(f"/webhooks/{webhook['id']}").status_code == 204
    assert_problem(api.delete(f"/webhooks/{webhook['id']}"), 404, "webhook_not_found")
    with database.reading() as session:
        assert session.scalars(sa.select(Delivery)).all() == []


def test_there_are_only_so_many(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.webhooks.service.MOST", 2)
    make(api), make(api)
    assert_problem(api.post("/webhooks", json={"url": URL}), 429, "quota_exceeded")


def test_each_project_hears_of_its_own(settings: Settings, database: Database) -> None:
    with guarded(settings) as address:
        keys = [add_key(database, project=add_project(database, name))[1] for name in ("a", "b")]
        with client(address, keys[0]) as a, client(address, keys[1]) as b:
            hooks = [make(http) for http in (a, b)]
            digits = {"name": "d", "source": {"kind": "builtin", "name": "digits"}}
            dataset = a.post("/datasets", json=digits).json()["id"]
            Verdicts(database).reject(Dataset, dataset, {"code": "c"})
            (told,) = deliveries(a, hooks[0])
            assert told["payload"]["data"] == {"id": dataset, "state": "rejected"}
            assert told["type"] == "dataset.rejected"
            assert deliveries(b, hooks[1]) == []
            assert b.get(f"/webhooks/{hooks[0]['id']}").status_code == 404
