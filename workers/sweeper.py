"""Rings again for what nobody heard: the queued row is the message, the broker only the bell."""

import fcntl
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from app.db import Database
from app.queue import LIGHT_QUEUE, TRAIN_QUEUES, Doorbell
from app.tables import Dataset, Teacher
from workers.ledger import Ledger
from workers.verdicts import Verdicts

QUIET_S = 3.0
"""A job younger than this has a message on its way."""
CHECKING_S = 30.0
"""As long may a resource be checked before somebody else is asked to."""
LOCK = 0x5741_4C4C
"""PostgreSQL's advisory lock: the number is ours, nothing else about it matters."""

log = logging.getLogger(__name__)


class Sweeper:
    """Any worker may sweep; a lock elects one at a time.

    `waiting` counts the messages in a queue. While there are some, nothing in it can have been
    lost for long: ringing for each queued row every few seconds would flood the broker.
    """

    def __init__(
        self,
        *,
        database: Database,
        ledger: Ledger,
        doorbell: Doorbell,
        waiting: Callable[[str], int],
        home: Path,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._verdicts = Verdicts(database)
        self._doorbell = doorbell
        self._waiting = waiting
        self._lock_file = home / "sweeper.lock"

    def sweep(self) -> None:
        with self._elected() as elected:
            if not elected:
                return
            for job_id in self._ledger.recover():
                log.warning("%s: recovered from an attempt that went silent", job_id)
            for priority, queue in TRAIN_QUEUES.items():
                if self._waiting(queue) == 0:
                    for job_id in self._ledger.queued(priority, for_s=QUIET_S, limit=1000):
                        self._doorbell.run_job(job_id, priority)
            if self._waiting(LIGHT_QUEUE) == 0:
                for teacher_id in self._verdicts.waiting(Teacher, for_s=CHECKING_S):
                    self._doorbell.inspect_teacher(teacher_id)
                for dataset_id in self._verdicts.waiting(Dataset, for_s=CHECKING_S):
                    self._doorbell.inspect_dataset(dataset_id)

    @contextmanager
    def _elected(self) -> Iterator[bool]:
        if self._database.engine.dialect.name == "postgresql":
            with self._database.reading() as session:
                lock = text("SELECT pg_try_advisory_xact_lock(:lock)")
                yield bool(session.scalar(lock, {"lock": LOCK}))
            return
        # SQLite is one machine, where a file serves.
        with self._lock_file.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
