"""Rings again for what nobody heard: the queued row is the message, the broker only the bell."""

import logging
from collections.abc import Callable
from pathlib import Path

from app import tallies
from app.db import Database
from app.queue import LIGHT_QUEUE, TRAIN_QUEUES, Doorbell
from app.tables import Dataset, Evaluation, KnowledgeReport, Teacher
from workers.election import elected
from workers.exports import Exports
from workers.ledger import Ledger
from workers.verdicts import Verdicts

QUIET_S = 3.0
"""A job younger than this has a message on its way."""
CHECKING_S = 30.0
"""As long may a resource be checked before somebody else is asked to."""

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
        self._exports = Exports(database)
        self._doorbell = doorbell
        self._waiting = waiting
        self._home = home

    def sweep(self) -> None:
        self.recover()  # first, so that those are rung for
        self.ring()

    def recover(self) -> None:
        """Ends attempts that went silent: a matter of the database alone."""
        with elected(self._database, self._home, "sweeper") as chosen:
            if chosen:
                silent = self._ledger.recover()
                for job_id in silent:
                    log.warning("%s: recovered from an attempt that went silent", job_id)
                self._count("sweeps")
                self._count("recovered", len(silent))

    def ring(self) -> None:
        """Rings for what is queued. Where the broker hangs, this takes many seconds."""
        with elected(self._database, self._home, "ringer") as chosen:
            if chosen:
                self._count("rung", self._ring())

    def _ring(self) -> int:
        rung = 0
        for priority, queue in TRAIN_QUEUES.items():
            if self._waiting(queue) == 0:
                for job_id in self._ledger.queued(priority, for_s=QUIET_S, limit=1000):
                    self._doorbell.run_job(job_id, priority)
                    rung += 1
        if self._waiting(LIGHT_QUEUE) == 0:
            for teacher_id in self._verdicts.waiting(Teacher, for_s=CHECKING_S):
                self._doorbell.inspect_teacher(teacher_id)
                rung += 1
            for dataset_id in self._verdicts.waiting(Dataset, for_s=CHECKING_S):
                self._doorbell.inspect_dataset(dataset_id)
                rung += 1
            for evaluation_id in self._verdicts.waiting(Evaluation, for_s=CHECKING_S):
                self._doorbell.evaluate(evaluation_id)
                rung += 1
            for job_id in self._exports.waiting(for_s=CHECKING_S):
                self._doorbell.export_student(job_id)
                rung += 1
            for report_id in self._verdicts.waiting(KnowledgeReport, for_s=CHECKING_S):
                self._doorbell.report_knowledge(report_id)
                rung += 1
        return rung

    def _count(self, what: tallies.Name, by: int = 1) -> None:
        """For the service's metrics, where the last sweep's age tells whether anybody sweeps."""
        if by:
            with self._database.transaction() as session:
                tallies.count(session, what, by)
