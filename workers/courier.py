"""Sends what webhooks are to be told, beside this worker's other work.

One thread at a time for each webhook that has something due, so that a receiver that is slow or
away holds up nobody but itself.
"""

import logging
import threading
import time
from typing import Final

from workers.deliveries import Deliveries
from workers.post import Post

LOOK_S: Final = 1.0
"""Between two looks at what is due."""
MOST: Final = 8
"""Webhooks at a time, in one worker."""
CLOSE_S: Final = 2.0

log = logging.getLogger(__name__)


class Courier:
    """`look` is called again and again; it does not wait for any receiver."""

    def __init__(self, deliveries: Deliveries, post: Post, shutdown: threading.Event) -> None:
        self._deliveries = deliveries
        self._post = post
        self._shutdown = shutdown
        self._busy: dict[str, threading.Thread] = {}

    def look(self) -> None:
        """Raises what the database raises."""
        self._busy = {key: thread for key, thread in self._busy.items() if thread.is_alive()}
        free = MOST - len(self._busy)
        if self._shutdown.is_set() or free == 0:
            return
        for webhook_id in self._deliveries.due(but=self._busy.keys(), most=free):
            # No executor: at its end, Python would wait for receivers that do not answer.
            thread = threading.Thread(
                target=self._serve, args=(webhook_id,), name=f"courier-{webhook_id}", daemon=True
            )
            self._busy[webhook_id] = thread
            thread.start()

    def close(self) -> None:
        """Lets messages that are on their way arrive, if that takes no longer than a moment: the
        others are sent again by another worker."""
        deadline = time.monotonic() + CLOSE_S
        for thread in self._busy.values():
            thread.join(max(deadline - time.monotonic(), 0))

    def _serve(self, webhook_id: str) -> None:
        """All that is due, one after another, until something is not taken."""
        try:
            while not self._shutdown.is_set() and (taken := self._deliveries.take(webhook_id)):
                outcome = self._post.send(taken)
                self._deliveries.note(taken, outcome)
                if outcome.error is not None:
                    log.info("%s: %s was not taken: %s", webhook_id, taken.id, outcome.error)
                    return
        except Exception as error:  # the database may be away; what was taken is due again later
            log.warning("%s: %s", webhook_id, error)
