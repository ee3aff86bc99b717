"""From the bell to the attempt: claims jobs, and rings again for those that need another."""

import logging
import threading
import time
from collections.abc import Sequence

from app.queue import TRAIN_QUEUES, Doorbell
from app.settings import Settings
from app.states import State
from app.storage import Storage, free_bytes
from workers.attempt import Attempt
from workers.ledger import Ledger
from workers.room import bytes_needed
from workers.slots import Slots
from workers.standby import Standby

log = logging.getLogger(__name__)


class Supervisor:
    """Answers the bell, in the thread that calls `run`.

    `priorities`, the most urgent first, are those whose queues this worker listens to.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        storage: Storage,
        standby: Standby,
        doorbell: Doorbell,
        settings: Settings,
        worker: str,
        shutdown: threading.Event,
        priorities: Sequence[str] = tuple(TRAIN_QUEUES),
    ) -> None:
        self._ledger = ledger
        self._storage = storage
        self._standby = standby
        self._doorbell = doorbell
        self._settings = settings
        self._worker = worker
        self._shutdown = shutdown
        self._priorities = priorities
        self._slots = Slots()
        self._rest_until: dict[str, float] = {}

    def run(self, job_id: str) -> None:
        """The job that was rung for, and then whatever else is queued.

        Going on here takes milliseconds where Celery takes most of a second to fetch the next
        message; that message, when it comes, finds nothing left to do.
        """
        self.attempt(job_id)
        while not self._shutdown.is_set() and (waiting := self._next()):
            self.attempt(waiting)

    def _next(self) -> str | None:
        for priority in self._priorities:
            for job_id in self._ledger.queued(priority, limit=1 + len(self._rest_until)):
                if not self._rests(job_id):
                    return job_id
        return None

    def attempt(self, job_id: str) -> None:
        """One attempt, if the job can be had."""
        if self._shutdown.is_set():
            return  # the row is still queued, and a sweeper will see it
        if self._rests(job_id):
            return  # the sweeper goes on ringing, here and for workers with other disks
        if not self._has_room(job_id):
            self._rest_until[job_id] = time.monotonic() + max(self._settings.disk_full_pause_s, 1.0)
            return  # still queued, with no attempt spent
        claim = self._ledger.claim(job_id, self._worker)
        if claim is None:
            return
        with self._slots.one() as slot:
            attempt = Attempt(
                claim,
                ledger=self._ledger,
                storage=self._storage,
                standby=self._standby,
                settings=self._settings,
                shutdown=self._shutdown,
                slot=slot,
            )
            state = attempt.run()
        if state is State.QUEUED and attempt.blameless:
            self._rest_until[job_id] = time.monotonic() + self._settings.disk_full_pause_s
        elif state is State.QUEUED:
            self._doorbell.run_job(job_id, claim.spec.get("priority", "normal"))

    def _has_room(self, job_id: str) -> bool:
        """Whether this worker's disk can hold what the job will write."""
        spec = self._ledger.spec(job_id)
        needed = self._settings.min_free_bytes + (bytes_needed(spec) if spec else 0)
        free = free_bytes(self._settings.home.absolute())
        if free < needed:
            log.warning("%s: waits for room: %d bytes free, %d needed", job_id, free, needed)
        return free >= needed

    def _rests(self, job_id: str) -> bool:
        """Whether a moment ago there was no room for the job, or a storage was away."""
        if self._rest_until.get(job_id, 0.0) > time.monotonic():
            return True
        self._rest_until.pop(job_id, None)
        return False
