"""What a training run tells the outside, and how it hears that it should stop."""

import hashlib
from pathlib import Path
from typing import Protocol

Point = tuple[str, int, float, float, float | None]
"""key, step, epoch, seconds since 1970, value (None when not finite)."""


class Stopped(Exception):
    """The run was asked to end early, and left a checkpoint."""


class Reporter(Protocol):
    """Implemented by the supervisor's pipe and by the terminal."""

    @property
    def stopping(self) -> bool:
        """Whether somebody asked the run to end."""

    def send(self, event: str, **fields: object) -> None:
        """One event of `workers.protocol`."""


def file_facts(path: Path) -> dict[str, object]:
    """A finished file as its event tells of it: file, size, sha256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": str(path.absolute()), "size": path.stat().st_size, "sha256": digest}
