"""Projects and keys for tests, made as the service makes them, and a service that asks for them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx

from app.db import Database
from app.projects import service
from app.settings import Settings
from app.tables import DEFAULT_PROJECT
from app.tenancy import TenantDatabase
from tests.api.helpers import serve

ALL = ("jobs:read", "jobs:write", "admin")


def add_project(database: Database, name: str, **limits: Any) -> str:
    with database.transaction() as session:
        return service.create_project(session, name, **limits).id


def add_key(
    database: Database, *scopes: str, project: str = DEFAULT_PROJECT, **values: Any
) -> tuple[str, str]:
    """Its id, and the key itself."""
    operator = TenantDatabase(database, DEFAULT_PROJECT, everything=True)
    with operator.transaction() as session:
        row, key = service.create_key(session, project, name="test", scopes=scopes or ALL, **values)
        return row.id, key


@contextlib.contextmanager
def client(address: str, key: str | None = None) -> Iterator[httpx.Client]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=address, headers=headers, timeout=60) as http:
        yield http


@contextlib.contextmanager
def guarded(settings: Settings, **changes: Any) -> Iterator[str]:
    """A service that asks for keys. Its address."""
    with serve(settings.model_copy(update={"auth": "on", **changes})) as address:
        yield address
