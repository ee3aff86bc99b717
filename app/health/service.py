"""Asks everything that the service leans on whether it is there."""

from collections.abc import Callable

import redis
import structlog

from app.db import Database
from app.jobs.repository import ALIVE_S, live_trainers
from app.settings import Settings
from app.storage import Storage

BROKER_TIMEOUT_S = 1.0

log = structlog.get_logger()


def missing(database: Database, storage: Storage, settings: Settings) -> dict[str, str]:
    """What is not there, and why it seems so."""
    checks: dict[str, Callable[[], None]] = {
        "database": lambda: _database(database),
        "broker": lambda: _broker(settings),
        "storage": storage.check,
        "worker": lambda: _worker(database),
    }
    return {name: reason for name, check in checks.items() if (reason := _failure(name, check))}


def _failure(name: str, check: Callable[[], None]) -> str | None:
    try:
        check()
    except NoWorker:
        return f"no worker for training was seen in the last {ALIVE_S:.0f} seconds"
    except Exception as error:  # whatever it is, it is not ready
        # Addresses and passwords may stand in the message: it is for the log alone.
        log.warning("not_ready", check=name, error=str(error))
        return f"does not answer ({type(error).__name__})"
    return None


class NoWorker(Exception):
    """Nobody would take a job."""


def _database(database: Database) -> None:
    with database.reading() as session:
        session.connection().exec_driver_sql("SELECT 1 FROM jobs LIMIT 1")


def _broker(settings: Settings) -> None:
    client = redis.Redis.from_url(
        # Celery and redis-py have different names for a Unix socket.
        settings.broker.replace("redis+socket://", "unix://", 1),
        socket_timeout=BROKER_TIMEOUT_S,
        socket_connect_timeout=BROKER_TIMEOUT_S,
    )
    with client:
        client.ping()


def _worker(database: Database) -> None:
    with database.reading() as session:
        if not live_trainers(session):
            raise NoWorker
