"""Something done again and again beside the work, in a thread of its own."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Ticker(threading.Thread):
    """Calls `action` at once and then every `interval_s`; a failure is logged, and tried again."""

    def __init__(self, name: str, interval_s: float, action: Callable[[], object]) -> None:
        super().__init__(name=name, daemon=True)
        self._interval_s = interval_s
        self._action = action
        self._stopped = threading.Event()
        self._failing = False

    def run(self) -> None:
        while True:
            try:
                self._action()
                self._failing = False
            except Exception as error:  # the database may be away; it will be back
                if not self._failing:
                    log.warning("%s failed, and goes on: %s", self.name, error)
                self._failing = True
            if self._stopped.wait(self._interval_s):
                return

    def stop(self, timeout_s: float = 5.0) -> None:
        self._stopped.set()
        self.join(timeout_s)


class Watchdog:
    """Calls `bark`, once, when nothing has fed it for `patience_s`.

    A thread of its own, since the one that feeds it may hang in a call to the database.
    """

    def __init__(self, patience_s: float, bark: Callable[[], None]) -> None:
        self._patience_s = patience_s
        self._bark = bark
        self._fed = threading.Condition()
        self._meals = 0
        self._off = False
        self.barked = False
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def feed(self) -> None:
        with self._fed:
            self._meals += 1
            self._fed.notify()

    def stop(self) -> None:
        """Once this has returned, it barks no more."""
        with self._fed:
            self._off = True
            self._fed.notify()
        self._thread.join()

    def _watch(self) -> None:
        with self._fed:
            while not self._off:
                meals = self._meals
                self._fed.wait_for(
                    lambda meals=meals: self._off or self._meals != meals,  # type: ignore[misc]
                    self._patience_s,
                )
                if self._meals == meals and not self._off:
                    self.barked = True
                    self._bark()
                    return
