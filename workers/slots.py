"""Numbers for the trainings that one worker runs side by side."""

import contextlib
import itertools
import threading
from collections.abc import Iterator


class Slots:
    """Each training has the smallest number that is free, and of several GPUs the one it counts to
    (`workers.engine.device`)."""

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def one(self) -> Iterator[int]:
        """A number, for as long as the block lasts."""
        with self._lock:
            slot = next(number for number in itertools.count() if number not in self._taken)
            self._taken.add(slot)
        try:
            yield slot
        finally:
            with self._lock:
                self._taken.remove(slot)
