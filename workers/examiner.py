"""Asks one question of a trainer process, which the answer may well kill."""

import logging
import threading
import time
from typing import Any

from app.errors import problem_document
from app.settings import Settings
from workers.disk import STORAGE_FULL
from workers.limits import over_memory
from workers.memory import LOOK_S, MemoryWatch
from workers.obituary import Obituary, oom_kills
from workers.processes import ProtocolError
from workers.standby import Standby

log = logging.getLogger(__name__)


class Rejected(Exception):
    """The trainer found a problem, or died of one."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem["detail"])
        self.problem = problem


class Examiner:
    """Each question gets a process of its own, so much memory, and `limit_s`."""

    def __init__(
        self, standby: Standby, settings: Settings, shutdown: threading.Event, limit_s: float
    ) -> None:
        self._standby = standby
        self._settings = settings
        self._shutdown = shutdown
        self._limit_s = limit_s

    def ask(self, order: dict[str, Any]) -> dict[str, Any] | None:
        """What the trainer found; None when this worker is told to stop, or has no room on its
        disk. Raises Rejected."""
        memory_bytes = self._settings.process_memory
        # What a prepared data set may grow to: its pixels may become floats.
        file_bytes = 4 * self._settings.max_dataset_bytes + 2**30
        bounds = {"memory_bytes": memory_bytes, "file_bytes": file_bytes}
        memory = MemoryWatch(memory_bytes)
        trainer = self._standby.take()
        obituary, oom_before = Obituary(), oom_kills()
        deadline = time.monotonic() + self._limit_s
        try:
            trainer.order(**order, bounds=bounds)
            while not trainer.ended and not self._shutdown.is_set():
                for event in trainer.events(LOOK_S):
                    match event["event"]:
                        case "inspected":
                            return dict(event["facts"])
                        case "failed" if event["problem"].get("code") == STORAGE_FULL:
                            log.warning("no room for an inspection; the sweeper asks for it again")
                            return None
                        case "failed":
                            raise Rejected(event["problem"])
                if memory.look(trainer.pid):
                    raise Rejected(over_memory().as_problem())
                if time.monotonic() > deadline:
                    raise Rejected(
                        problem_document(
                            422, "inspection_timeout", f"Not done within {self._limit_s:.0f} s."
                        )
                    )
        except ProtocolError as error:
            log.warning("an inspection talks nonsense: %s", error)
        finally:
            code = trainer.close()
            self._standby.fill()
        if self._shutdown.is_set():
            return None
        log.warning("an inspection died; its last words: %s", trainer.last_words)
        raise Rejected(
            problem_document(
                413 if oom_kills() > oom_before else 422,
                "inspection_died",
                f"It ended early: {obituary.of(code)}.",
            )
        )
