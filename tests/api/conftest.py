"""The API is served once for each database; every test finds it empty."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app.db import Database
from app.settings import Settings
from app.storage import DirectoryStorage
from app.tables import Artifact, Blob, Dataset, Job, Teacher
from tests.api.helpers import Rows, serve
from tests.databases import empty


@pytest.fixture(scope="session")
def service(
    database_url: str, broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Settings, str]]:
    home = tmp_path_factory.mktemp("service")
    settings = Settings(database_url=database_url, broker_url=broker_url, home=home)
    with serve(settings) as address:
        yield settings, address


@pytest.fixture
def settings(service: tuple[Settings, str], database_url: str) -> Settings:
    empty(database_url)
    shutil.rmtree(service[0].home / "artifacts", ignore_errors=True)
    return service[0]


@pytest.fixture
def address(service: tuple[Settings, str], settings: Settings) -> str:
    return service[1]


@pytest.fixture
def api(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client


@pytest.fixture
def rows(database: Database, storage: DirectoryStorage) -> Rows:
    return Rows(database, storage)


@pytest.fixture
def snapshot(api: httpx.Client, database: Database) -> Callable[[], Any]:
    """All that a refused request must leave as it was."""

    def take() -> Any:
        with database.reading() as session:
            counts = [
                session.scalar(sa.select(sa.func.count()).select_from(table))
                for table in (Job, Teacher, Dataset, Artifact, Blob)
            ]
        jobs = api.get("/jobs").json()
        return counts, jobs, api.get("/healthz").json()

    return take
