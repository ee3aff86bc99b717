"""Keys: who gets in, with what, and for how long."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr, ValidationError

from app.db import Database, now_plus
from app.projects.keyring import REMEMBERED_S
from app.projects.keys import digest, new_key
from app.settings import Settings
from app.tables import DEFAULT_PROJECT, ApiKey, IdempotencyKey
from tests.api.callers import add_key, add_project, client, guarded
from tests.api.helpers import Rows, assert_problem, job_body, upload


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    with guarded(settings) as address:
        yield address


@pytest.fixture
def admin(address: str, database: Database) -> Iterator[httpx.Client]:
    with client(address, add_key(database, "admin")[1]) as http:
        yield http


def test_a_key_is_random_and_kept_as_its_hash(database: Database) -> None:
    _, key = add_key(database, "jobs:read")
    assert key.startswith("sh_")
    assert len(key) == 55
    assert len({new_key() for _ in range(100)}) == 100
    with database.reading() as session:
        row = session.scalars(sa.select(ApiKey)).one()
        told = " ".join(map(str, session.execute(sa.text("SELECT * FROM api_keys")).one()))
    assert row.sha256 == digest(key)
    assert key not in told
    assert key[10:] not in told


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "key_required"),
        ("", "key_required"),
        ("Basic YTpi", "key_required"),
        ("Bearer", "invalid_key"),
        ("Bearer sh_", "invalid_key"),
        ("Bearer sh_" + "x" * 52, "invalid_key"),
        ("Bearer sh_" + "x" * 5000, "invalid_key"),
        ("Bearer \xe9\xff", "invalid_key"),
        ("bearer nonsense", "invalid_key"),
    ],
)
def test_row_30_without_a_good_key(address: str, header: str | None, code: str) -> None:
    headers = [] if header is None else [("Authorization", header.encode("latin-1"))]
    with httpx.Client(base_url=address) as http:
        for method, path in (("GET", "/jobs"), ("POST", "/files"), ("GET", "/nothing")):
            answer = http.request(method, path, headers=headers)
            assert_problem(answer, 401, code)
            assert answer.headers["www-authenticate"].startswith('Bearer realm="stillhouse"')
            assert ("invalid_token" in answer.headers["www-authenticate"]) == (
                code != "key_required"
            )


def test_a_refused_upload_is_not_received(address: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * 2**20

    with httpx.Client(base_url=address) as http:
        assert_problem(http.post("/files", content=endless()), 401, "key_required")


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", "/docs"])
def test_what_is_open_to_all(address: str, path: str) -> None:
    assert httpx.get(address + path).status_code == 200


def test_readiness_is_open_to_all(address: str) -> None:
    assert httpx.get(f"{address}/readyz").json()["code"] == "not_ready"


def test_scopes(address: str, database: Database, rows: Rows) -> None:
    job = rows.job()
    reads = [("GET", "/jobs"), ("GET", f"/jobs/{job}"), ("HEAD", "/files/file_1/content")]
    writes = [("POST", f"/jobs/{job}/cancel"), ("DELETE", f"/jobs/{job}"), ("POST", "/files")]
    admins = [("GET", "/keys"), ("GET", "/projects"), ("GET", "/audit"), ("DELETE", "/keys/key_1")]
    allowed = {
        "jobs:read": reads,
        "jobs:write": writes,
        "admin": [*reads, *writes, *admins],
    }
    for scope, mine in allowed.items():
        with client(address, add_key(database, scope)[1]) as http:
            for method, path in [*reads, *writes, *admins]:
                answer = http.request(method, path)
                if (method, path) in mine:
                    assert answer.status_code not in (401, 403), (scope, method, path)
                    continue
                assert answer.status_code == 403
                assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
                if method != "HEAD":
                    assert_problem(answer, 403, "missing_scope")


def test_a_revoked_key_stops_at_once(address: str, admin: httpx.Client, database: Database) -> None:
    key_id, key = add_key(database, "jobs:read")
    with client(address, key) as http:
        assert http.get("/jobs").status_code == 200
        assert admin.delete(f"/keys/{key_id}").status_code == 204
        assert_problem(http.get("/jobs"), 401, "key_revoked")
    assert admin.delete(f"/keys/{key_id}").status_code == 204
    assert admin.get(f"/keys/{key_id}").json()["revoked_at"]


def test_a_key_revoked_elsewhere_stops_in_two_seconds(
    settings: Settings, address: str, admin: httpx.Client, database: Database
) -> None:
    key_id, key = add_key(database, "jobs:read")
    with guarded(settings) as other, client(other, key) as http:
        assert http.get("/jobs").status_code == 200
        admin.delete(f"/keys/{key_id}")
        revoked = time.monotonic()
        while http.get("/jobs").status_code == 200:
            assert time.monotonic() - revoked < REMEMBERED_S + 0.5
            time.sleep(0.02)
        assert_problem(http.get("/jobs"), 401, "key_revoked")


def test_an_expired_key(address: str, database: Database) -> None:
    key_id, key = add_key(database, expires_at=datetime.now(UTC) + timedelta(hours=1))
    with client(address, key) as http:
        assert http.get("/jobs").status_code == 200
    with database.transaction() as session:
        session.execute(
            sa.update(ApiKey).where(ApiKey.id == key_id).values(expires_at=now_plus(-0.1))
        )
    time.sleep(REMEMBERED_S + 0.1)
    with client(address, key) as http:
        assert_problem(http.get("/jobs"), 401, "key_expired")


def test_last_use_is_noted_to_the_minute(
    address: str, admin: httpx.Client, database: Database
) -> None:
    key_id, key = add_key(database)

    def used() -> str | None:
        return admin.get(f"/keys/{key_id}").json()["last_used_at"]

    assert used() is None
    with client(address, key) as http:
        http.get("/jobs")
        until = time.monotonic() + 5
        while used() is None:
            assert time.monotonic() < until
        first = used()
        time.sleep(REMEMBERED_S + 0.1)
        http.get("/jobs")
        time.sleep(0.2)
    assert used() == first


def test_making_listing_and_showing_keys(admin: httpx.Client, address: str) -> None:
    made = admin.post("/keys", json={"name": "laptop"})
    assert made.status_code == 201
    body = made.json()
    assert made.headers["location"] == body["links"]["self"] == f"/keys/{body['id']}"
    assert body["scopes"] == ["jobs:read", "jobs:write"]
    assert body["project"] == DEFAULT_PROJECT
    assert body["key"].startswith(body["start"])
    with client(address, body["key"]) as http:
        assert http.get("/jobs").status_code == 200
        assert http.get("/keys").status_code == 403
    shown = admin.get(f"/keys/{body['id']}").json()
    assert "key" not in shown
    listed = admin.get("/keys?limit=1").json()
    assert [row["id"] for row in listed["data"]] == [body["id"]]
    rest = admin.get(f"/keys?limit=1&cursor={listed['next_cursor']}").json()
    assert len(rest["data"]) == 1
    assert rest["next_cursor"] is None


def test_a_replay_does_not_hold_the_key(admin: httpx.Client, database: Database) -> None:
    header = {"Idempotency-Key": "k"}
    first = admin.post("/keys", json={"name": "a"}, headers=header)
    again = admin.post("/keys", json={"name": "a"}, headers=header)
    assert again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == {**first.json(), "key": None}
    with database.reading() as session:
        assert first.json()["key"] not in str(session.scalars(sa.select(IdempotencyKey)).one().body)


def test_another_projects_key_of_the_same_name_is_another(
    address: str, admin: httpx.Client, database: Database
) -> None:
    _, key = add_key(database, "admin", project=add_project(database, "theirs"))
    header, body = {"Idempotency-Key": "k"}, {"name": "a"}
    with client(address, key) as http:
        theirs = http.post("/keys", json=body, headers=header).json()
    ours = admin.post("/keys", json=body, headers=header).json()
    assert ours["id"] != theirs["id"]
    again = admin.post("/keys", json=body, headers=header)
    assert (again.status_code, again.json()["id"]) == (201, ours["id"])


def test_keys_that_cannot_be(admin: httpx.Client) -> None:
    for body, pointer in (
        ({"name": ""}, "/name"),
        ({"name": "a", "scopes": []}, "/scopes"),
        ({"name": "a", "scopes": ["root"]}, "/scopes/0"),
        ({"name": "a", "project": "prj_0"}, "/project"),
        ({"name": "a", "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"name": "a", "expires_at": "2020-01-01T00:00:00"}, "/expires_at"),
        ({"name": "a", "expires_at": "9999-12-31T23:59:59-05:00"}, "/expires_at"),
        ({"name": "a", "more": 1}, "/more"),
    ):
        answer = admin.post("/keys", json=body)
        assert answer.status_code == 422
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert_problem(admin.get("/keys/key_0"), 404, "key_not_found")
    assert_problem(admin.delete("/keys/key_0"), 404, "key_not_found")


def test_projects(admin: httpx.Client) -> None:
    made = admin.post("/projects", json={"name": "vision", "max_active_jobs": 3})
    assert made.status_code == 201
    project = made.json()
    assert (project["active_jobs"], project["stored_bytes"]) == (0, 0)
    assert admin.get(made.headers["location"]).json() == project
    assert [row["name"] for row in admin.get("/projects").json()["data"]] == ["vision", "default"]
    assert_problem(admin.post("/projects", json={"name": "vision"}), 409, "project_exists")
    changed = admin.patch(made.headers["location"], json={"max_stored_bytes": 10}).json()
    assert (changed["max_active_jobs"], changed["max_stored_bytes"]) == (3, 10)
    changed = admin.patch(made.headers["location"], json={"max_active_jobs": None}).json()
    assert changed["max_active_jobs"] is None
    assert_problem(admin.get("/projects/prj_0"), 404, "project_not_found")
    assert_problem(admin.patch("/projects/prj_0", json={}), 404, "project_not_found")
    assert_problem(admin.post("/projects", json={"name": "a b"}), 422, "validation_failed", "/name")


def test_an_admin_of_another_project_rules_that_project(
    address: str, admin: httpx.Client, database: Database
) -> None:
    theirs = add_project(database, "theirs")
    own_id, key = add_key(database, "admin", project=theirs)
    with client(address, key) as http:
        assert [row["id"] for row in http.get("/projects").json()["data"]] == [theirs]
        assert [row["id"] for row in http.get("/keys").json()["data"]] == [own_id]
        assert_problem(http.get(f"/projects/{DEFAULT_PROJECT}"), 404, "project_not_found")
        assert_problem(http.post("/projects", json={"name": "x"}), 403, "operator_only")
        limits = http.patch(f"/projects/{theirs}", json={"max_active_jobs": None})
        assert_problem(limits, 403, "operator_only")
        other = http.post("/keys", json={"name": "x", "project": DEFAULT_PROJECT})
        assert_problem(other, 422, "unknown_project")
        assert http.post("/keys", json={"name": "x"}).json()["project"] == theirs
        assert_problem(http.get("/metrics"), 403, "operator_only")
    assert len(admin.get("/projects").json()["data"]) == 2
    assert len(admin.get("/keys").json()["data"]) == 3
    assert len(admin.get(f"/keys?project={theirs}").json()["data"]) == 2


def test_the_bootstrap_key(settings: Settings, database: Database) -> None:
    key = new_key()
    changes = {"bootstrap_key": SecretStr(key)}
    with guarded(settings, **changes) as address, client(address, key) as http:
        (row,) = http.get("/keys").json()["data"]
        assert (row["name"], row["scopes"]) == ("bootstrap", ["admin"])
        assert http.delete(f"/keys/{row['id']}").status_code == 204
    with guarded(settings, **changes) as address, client(address, key) as http:
        assert_problem(http.get("/keys"), 401, "key_revoked")


def test_a_weak_bootstrap_key_is_refused() -> None:
    for weak in ("hunter2", "sh_short", "sh_" + "x" * 25, "x" * 60):
        with pytest.raises(ValidationError, match="random letters"):
            Settings(bootstrap_key=SecretStr(weak))


@pytest.mark.parametrize(
    ("host", "asks"),
    [
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.168.1.5", True),
        ("example.org", True),
        ("", True),
    ],
)
def test_auto_asks_beyond_loopback(host: str, asks: bool) -> None:
    assert Settings(host=host).asks_for_keys is asks
    assert Settings(host=host, auth="on").asks_for_keys
    assert not Settings(host=host, auth="off").asks_for_keys


def test_on_loopback_a_key_that_is_given_counts(
    service: tuple[Settings, str], settings: Settings, database: Database, rows: Rows
) -> None:
    theirs = add_project(database, "theirs")
    job = rows.job()
    with (
        client(service[1]) as anybody,
        client(service[1], add_key(database, project=theirs)[1]) as own,
    ):
        assert anybody.get(f"/jobs/{job}").status_code == 200
        assert_problem(own.get(f"/jobs/{job}"), 404, "job_not_found")
        made = upload(own, b"theirs")
        assert anybody.get(f"/files/{made}").status_code == 404
    with client(service[1], "sh_" + "x" * 52) as wrong:
        assert_problem(wrong.get("/jobs"), 401, "invalid_key")
    proxied = httpx.get(f"{service[1]}/jobs", headers={"Authorization": "Basic YTpi"})
    assert proxied.status_code == 200


def test_the_document_says_what_is_asked(address: str) -> None:
    document = httpx.get(f"{address}/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path in ("/healthz", "/readyz"):
                assert "security" not in operation
                continue
            (scope,) = operation["security"][0]["key"]
            admin = path.startswith(("/projects", "/keys", "/audit"))
            expected = "admin" if admin else "jobs:read" if method == "get" else "jobs:write"
            assert (path, scope) == (path, expected)
            assert {"401", "403", "429"} <= operation["responses"].keys()


def test_the_whole_path_with_a_key(address: str, database: Database, rows: Rows) -> None:
    with client(address, add_key(database, "jobs:read", "jobs:write")[1]) as http:
        made = http.post("/jobs", json=job_body(rows))
        assert made.status_code == 202
        assert http.get(made.headers["location"]).json()["state"] == "queued"
