"""Who is at work: living worker processes and what they can do."""

import os
import socket
from typing import Any

from sqlalchemy import delete, update

from app.db import Database, now, now_plus
from app.tables import Worker

FORGET_S = 3600.0
"""A worker unheard of for so long is taken off the list."""


class Roster:
    """This process's row among the workers."""

    def __init__(self, database: Database, worker: str, queue: str) -> None:
        self.database = database
        self.worker = worker
        self.queue = queue

    def join(self) -> None:
        """Enters this worker, replacing whatever an earlier process of its name left."""
        with self.database.transaction() as session:
            session.execute(delete(Worker).where(Worker.id == self.worker))
            session.execute(delete(Worker).where(Worker.seen_at < now_plus(-FORGET_S)))
            session.add(Worker(id=self.worker, queue=self.queue))

    def beat(self) -> None:
        """Says that this worker is alive."""
        self._update(seen_at=now())

    def describe(self, hello: dict[str, Any]) -> None:
        """Notes what a trainer found out about this machine."""
        self._update(
            device=hello.get("device"),
            memory_bytes=hello.get("memory_bytes"),
            gflops=hello.get("gflops"),
            step_s=hello.get("step_s"),
        )

    def leave(self) -> None:
        with self.database.transaction() as session:
            session.execute(delete(Worker).where(Worker.id == self.worker))

    def _update(self, **values: Any) -> None:
        with self.database.transaction() as session:
            session.execute(update(Worker).where(Worker.id == self.worker).values(**values))


def worker_name(nodename: str) -> str:
    """Unique among workers of all machines, and the same again after a restart of this one."""
    return nodename if "@" in nodename else f"{nodename}@{socket.gethostname()}:{os.getpid()}"
