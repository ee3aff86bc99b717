"""Warm trainers: importing torch costs seconds, so it is done before there is an order."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from workers.processes import ProtocolError, Trainer

RESPAWN_S = 10.0
"""At least so long between replacements of standbys that died while idle."""

log = logging.getLogger(__name__)


class Standby:
    """Keeps `size` idle trainers, and hands each out once."""

    def __init__(self, spawn: Callable[[], Trainer], size: int) -> None:
        self._spawn = spawn
        self._size = size
        self._idle: list[Trainer] = []
        self._lock = threading.Lock()
        self._closed = False
        self._bereft = False
        self._respawn_at = 0.0

    def fill(self) -> None:
        """Starts what is missing; warming up then goes on in the trainers themselves."""
        with self._lock:
            while not self._closed and len(self._idle) < self._size:
                self._idle.append(self._spawn())

    def take(self) -> Trainer:
        """The warmest trainer, or a cold one when none is left. Call `fill` some time later.

        Not at once: a trainer warming up would take the cores from the one that was just taken.
        """
        with self._lock:
            while self._idle:
                trainer = self._idle.pop(0)
                if trainer.alive:
                    return trainer
                trainer.close()
            return self._spawn()

    def listen(self) -> dict[str, Any] | None:
        """What an idle trainer said of this machine since the last call; replaces dead ones."""
        hello = None
        with self._lock:
            for trainer in tuple(self._idle):
                try:
                    for event in trainer.events(0):
                        if event["event"] == "hello":
                            hello = event
                except ProtocolError:
                    trainer.kill()
                if not trainer.alive:
                    log.warning("an idle trainer died: %s", trainer.last_words)
                    self._idle.remove(trainer)
                    trainer.close()
                    self._bereft = True
        if self._bereft and time.monotonic() >= self._respawn_at:
            self._bereft = False
            self._respawn_at = time.monotonic() + RESPAWN_S
            self.fill()
        return hello

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for trainer in self._idle:
                trainer.close()
            self._idle.clear()
