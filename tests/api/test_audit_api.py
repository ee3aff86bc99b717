"""What was done, by whom: a line for each request that changed something, and for no other."""

import itertools
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
import structlog
from pydantic import SecretStr

from app.db import Database
from app.projects.keys import new_key
from app.settings import Settings
from app.tables import DEFAULT_PROJECT, AuditEntry
from tests.api.callers import add_key, add_project, client, guarded
from tests.api.helpers import Rows, checkpoint, job_body, upload
from workers.processes import trainer_environment


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    with guarded(settings) as address:
        yield address


@pytest.fixture
def admin(address: str, database: Database) -> Iterator[httpx.Client]:
    with client(address, add_key(database, "admin")[1]) as http:
        yield http


def told(admin: httpx.Client, query: str = "") -> list[tuple[str, str | None]]:
    """Oldest first."""
    data = admin.get(f"/audit?limit=200{query}").json()["data"]
    return [(entry["action"], entry["subject"]) for entry in reversed(data)]


def test_every_change_is_told(admin: httpx.Client, rows: Rows) -> None:
    file = upload(admin, checkpoint())
    job = admin.post("/jobs", json=job_body(rows)).json()["id"]
    clone = admin.post(f"/jobs/{job}/clone", json={}).json()["id"]
    for verb in ("pause", "resume", "cancel"):
        assert admin.post(f"/jobs/{job}/{verb}").status_code == 200
    assert admin.delete(f"/jobs/{job}").status_code == 204
    assert admin.delete(f"/files/{file}").status_code == 204
    project = admin.post("/projects", json={"name": "p"}).json()["id"]
    admin.patch(f"/projects/{project}", json={"max_active_jobs": 1})
    key = admin.post("/keys", json={"name": "k", "project": project}).json()["id"]
    admin.delete(f"/keys/{key}")
    assert told(admin) == [
        ("create_file", file),
        ("create_job", job),
        ("clone_job", clone),
        ("pause_job", job),
        ("resume_job", job),
        ("cancel_job", job),
        ("delete_job", job),
        ("delete_file", file),
        ("create_project", project),
        ("change_project", project),
        ("create_key", key),
        ("revoke_key", key),
    ]


def test_what_changes_nothing_is_not_told(admin: httpx.Client, rows: Rows) -> None:
    body, header = job_body(rows), {"Idempotency-Key": "k"}
    job = admin.post("/jobs", json=body, headers=header).json()["id"]
    before = told(admin)
    assert admin.post("/jobs", json=body, headers=header).json()["id"] == job
    assert admin.post("/jobs?validate_only=true", json=body).status_code == 200
    assert admin.post("/jobs", json={}).status_code == 422
    assert admin.post("/jobs/job_0/cancel").status_code == 404
    assert admin.delete(f"/jobs/{job}").status_code == 409
    assert admin.get("/jobs").status_code == 200
    assert told(admin) == before


def test_a_line_says_who_and_when(admin: httpx.Client, address: str, database: Database) -> None:
    project = add_project(database, "theirs")
    key_id, key = add_key(database, "jobs:write", project=project)
    digits = {"name": "digits", "source": {"kind": "builtin", "name": "digits"}}
    with client(address, key) as http:
        answer = http.post("/datasets", json=digits, headers={"X-Request-Id": "mine-1"})
    (entry,) = admin.get(f"/audit?key={key_id}").json()["data"]
    assert entry["at"] >= answer.json()["created_at"]
    del entry["at"], entry["id"]
    assert entry == {
        "project": project,
        "key": key_id,
        "action": "create_dataset",
        "subject": answer.json()["id"],
        "request_id": "mine-1",
    }


def test_it_is_paged(admin: httpx.Client) -> None:
    for number in range(5):
        upload(admin, bytes([number]))
    pages = []
    path = "/audit?limit=2"
    while True:
        page = admin.get(path).json()
        pages.append([entry["id"] for entry in page["data"]])
        if page["next_cursor"] is None:
            break
        path = f"/audit?limit=2&cursor={page['next_cursor']}"
    ids = list(itertools.chain(*pages))
    assert [len(page) for page in pages] == [2, 2, 1]
    assert ids == sorted(ids, reverse=True)


def test_without_keys_the_default_project_does_it(
    service: tuple[Settings, str], settings: Settings, database: Database
) -> None:
    with client(service[1]) as http:
        upload(http, b"x")
        (entry,) = http.get("/audit").json()["data"]
    assert (entry["project"], entry["key"]) == (DEFAULT_PROJECT, None)


def test_a_change_and_its_line_stand_or_fall_together(
    address: str, rows: Rows, database: Database
) -> None:
    """The audit cannot be written: nothing else is."""
    body = job_body(rows)
    kind = database.engine.dialect.name
    block, unblock = {
        "sqlite": (
            "CREATE TRIGGER no_audit BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END",
            "DROP TRIGGER no_audit",
        ),
        "postgresql": (
            "ALTER TABLE audit ADD CONSTRAINT no_audit CHECK (id < 0) NOT VALID",
            "ALTER TABLE audit DROP CONSTRAINT no_audit",
        ),
    }[kind]
    with database.engine.begin() as connection:
        connection.exec_driver_sql(block)
    _, key = add_key(database, "admin")
    header = {"Idempotency-Key": "k"}
    try:
        with client(address, key) as http:
            assert http.post("/jobs", json=body, headers=header).is_error
    finally:
        with database.engine.begin() as connection:
            connection.exec_driver_sql(unblock)
    with client(address, key) as http:
        assert http.get("/jobs").json()["data"] == []
        answer = http.post("/jobs", json=body, headers=header)
    assert answer.status_code == 202
    assert "idempotency-replayed" not in answer.headers


def test_no_key_is_in_logs_or_audit(
    settings: Settings,
    database: Database,
    rows: Rows,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With everything logged that anybody here would log, and what goes wrong too."""
    first, wrong = new_key(), new_key()
    caplog.set_level(logging.DEBUG)
    with (
        structlog.testing.capture_logs() as lines,
        guarded(settings, bootstrap_key=SecretStr(first), rate_limit="1000/hour") as address,
        client(address, first) as http,
    ):
        made = http.post("/keys", json={"name": "k"}).json()["key"]
        http.post("/jobs", json=job_body(rows))
        http.post("/jobs", content=b"{", headers={"Content-Type": "application/json"})
        httpx.get(f"{address}/jobs", headers={"Authorization": f"Bearer {wrong}"})
        httpx.get(f"{address}/jobs", headers={"Authorization": wrong})
        http.get("/jobs")
        http.get("/jobs?cursor=x")
    out, err = capfd.readouterr()
    with database.reading() as session:
        audit = str(session.execute(sa.select(AuditEntry.__table__)).all())
    written = "\n".join([caplog.text, out, err, str(lines), audit, repr(settings)])
    for key in (first, wrong, made):
        assert key[10:] not in written
        assert key not in written


def test_a_weak_secret_is_not_repeated(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from app.settings import get_settings; get_settings()"],
        env={**os.environ, "STILLHOUSE_BOOTSTRAP_KEY": "hunter2", "STILLHOUSE_PORT": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "STILLHOUSE_BOOTSTRAP_KEY" in done.stderr
    assert "hunter2" not in done.stderr


def test_trainers_inherit_no_credentials(tmp_path: Path) -> None:
    secrets = {
        "STILLHOUSE_DATABASE_URL": "postgresql://user:hunter2@host/db",
        "STILLHOUSE_BROKER_URL": "redis://:hunter2@host",
        "STILLHOUSE_STORAGE_URL": "s3://hunter2",
        "STILLHOUSE_BOOTSTRAP_KEY": "sh_hunter2hunter2hunter2hunter2",
        "STILLHOUSE_SECRET": "hunter2",
        "AWS_ACCESS_KEY_ID": "hunter2",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "GOOGLE_APPLICATION_CREDENTIALS": "/hunter2",
        "AZURE_STORAGE_ACCOUNT_KEY": "hunter2",
        "PGPASSWORD": "hunter2",
        "REDISCLI_AUTH": "hunter2",
        "HF_TOKEN": "hunter2",
    }
    kept = trainer_environment(tmp_path, {**os.environ, **secrets})
    assert "hunter2" not in str(kept)
    assert not secrets.keys() & kept.keys()
