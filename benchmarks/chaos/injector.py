"""Breaks something every few seconds, in an order that the seed alone decides."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from benchmarks.chaos.faults import Faults
from benchmarks.chaos.watch import Watch


@dataclass(frozen=True)
class Blow:
    """One fault: when it began and ended, and the attempt at each job that was held then."""

    name: str
    began: datetime
    ended: datetime
    held: dict[str, tuple[int, str]]


@dataclass
class Injector:
    """`pause_s` between two faults is drawn evenly from the range."""

    faults: Faults
    watch: Watch
    seed: int
    pause_s: tuple[float, float]
    blows: list[Blow] = field(default_factory=list)
    idle: Counter[str] = field(default_factory=Counter)
    """Faults that found nothing to hurt."""

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="injector", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        dice = random.Random(f"{self.seed}/faults")
        while True:
            deck = self.faults.deck()
            dice.shuffle(deck)
            for name, fault in deck:
                if self._over.wait(dice.uniform(*self.pause_s)):
                    return
                try:
                    held = self.watch.held()
                except Exception:  # the database is still away
                    time.sleep(0.5)
                    continue
                began = datetime.now(UTC)
                if fault():
                    self.blows.append(Blow(name, began, datetime.now(UTC), held))
                else:
                    self.idle[name] += 1
