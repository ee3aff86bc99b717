"""One of many workers at a time, by a lock that goes with its holder."""

import fcntl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from app.db import Database

LOCKS = 0x5741_4C4C
"""PostgreSQL's advisory locks have two numbers: the first one is ours, nothing else about it
matters."""


@contextmanager
def elected(database: Database, home: Path, office: str) -> Iterator[bool]:
    """Whether this worker holds the office for the length of the block."""
    if database.engine.dialect.name == "postgresql":
        with database.transaction() as session:  # the lock ends with it
            lock = text("SELECT pg_try_advisory_xact_lock(:ours, :office)")
            numbers = {"ours": LOCKS, "office": zlib.crc32(office.encode()) & 0x7FFF_FFFF}
            yield bool(session.scalar(lock, numbers))
        return
    # SQLite is one machine, where a file serves.
    home.mkdir(parents=True, exist_ok=True)
    with (home / f"{office}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
