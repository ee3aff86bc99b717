"""A worker that takes the place of a killed one ends what that one had under way.

Whoever starts a worker again gives it the name and the home of the one before, and the kernel lets
go of a dead process's locks. So it is known at once what else only a lease that ran out would tell.
"""

import fcntl
import logging
from pathlib import Path
from typing import IO
from urllib.parse import quote

from sqlalchemy.exc import SQLAlchemyError

from app.queue import Doorbell
from workers.ledger import Fenced, Ledger

ENDED = "its worker's process ended"

log = logging.getLogger(__name__)


class Seat:
    """The place of a worker of this name in this home, for as long as its process lives."""

    def __init__(self, home: Path, worker: str) -> None:
        self._path = home / "seats" / quote(worker, safe="@")
        self._file: IO[str] | None = None

    def take(self) -> bool:
        """Whether no living process has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file  # trainers do not inherit it: it is closed where another program begins
        return True


def succeed(ledger: Ledger, bell: Doorbell, home: Path, worker: str) -> list[str]:
    """Ends the attempts of the process before this one, and rings for their jobs; the ids of those.

    Before this process claims any: its own would look the same. An attempt without a folder here
    is that of a worker of the same name elsewhere, and left to its lease.
    """
    ended = []
    try:
        for hold in ledger.held_by(worker):
            if not (home / "runs" / hold.job_id / str(hold.token)).is_dir():
                continue
            try:
                ledger.release(hold, reason=ENDED, fruitless=True)
            except Fenced:
                continue
            log.warning("%s: recovered from a worker that was killed", hold.job_id)
            spec = ledger.spec(hold.job_id) or {}
            bell.run_job(hold.job_id, spec.get("priority", "normal"))
            ended.append(hold.job_id)
    except SQLAlchemyError as error:  # the database may be away: the lease decides then
        log.warning("could not see what the last %s left: %s", worker, error)
    return ended
