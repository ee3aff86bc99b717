"""`python -m app.projects`, run as a person runs it."""

import json
import os
import re
import subprocess
import sys

import pytest

from app.db import Database
from app.settings import Settings
from app.tables import AuditEntry
from tests.api.callers import client, guarded
from tests.api.helpers import assert_problem


@pytest.fixture
def run(settings: Settings):
    environment = {
        **os.environ,
        "STILLHOUSE_DATABASE_URL": settings.database,
        "STILLHOUSE_HOME": str(settings.home),
        "COLUMNS": "200",
    }

    def run(*words: str, code: int = 0) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "app.projects", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout.strip(), done.stderr.strip()

    return run


def test_from_a_project_to_a_revoked_key(run, settings: Settings, database: Database) -> None:
    project, _ = run("create", "vision", "--max-active-jobs", "3")
    assert re.fullmatch(r"prj_[0-9a-z]{25}", project)
    assert "already" in run("create", "vision", code=1)[1]
    key, said = run("keys", "create", "laptop", "--project", "vision", "--scope", "jobs:read")
    assert re.fullmatch(r"sh_[0-9a-z]{52}", key)
    key_id = said.partition(":")[0]
    listed, _ = run("keys", "list")
    assert key_id in listed
    assert key not in listed
    run("limit", "vision", "--max-stored-bytes", "5")
    shown, _ = run("list")
    assert "vision" in shown
    with guarded(settings) as address, client(address, key) as http:
        assert http.get("/jobs").status_code == 200
        run("keys", "revoke", key_id)
    with guarded(settings) as address, client(address, key) as http:
        assert_problem(http.get("/jobs"), 401, "key_revoked")
    assert "revoked" in run("keys", "list", "--project", "vision")[0]
    assert "There is no key" in run("keys", "revoke", "key_0", code=1)[1]
    with database.reading() as session:
        told = [
            (entry.action, entry.subject, entry.request_id)
            for entry in session.query(AuditEntry).order_by(AuditEntry.id)
        ]
    assert told == [
        ("create_project", project, "command line"),
        ("create_key", key_id, "command line"),
        ("change_project", project, "command line"),
        ("revoke_key", key_id, "command line"),
    ]
    assert key not in json.dumps(told)


def test_the_first_admin_key(run, settings: Settings) -> None:
    key, _ = run("keys", "create", "me", "--scope", "admin", "--days", "30")
    with guarded(settings) as address, client(address, key) as http:
        assert len(http.get("/keys").json()["data"]) == 1
