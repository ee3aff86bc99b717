"""Room on disk, looked for before there is trouble, and the troubles that pass by themselves."""

from typing import Any

from pydantic import ValidationError

from app.spec.job import JobSpec
from app.storage import StorageAway
from workers.disk import disk_full

CHECKPOINT_COPIES = 4
"""Of the weights: themselves, two of the optimiser's, the best ones."""


def passes(error: BaseException) -> bool:
    """Whether it comes from a full disk or an object store that is away: nobody's fault, and worth
    another try later."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StorageAway):
            return True
        cause = cause.__cause__ or cause.__context__
    return disk_full(error)


def bytes_needed(spec: dict[str, Any]) -> int:
    """What an attempt at a job may write to its worker's disk, as far as the student tells: two
    checkpoints, the student itself, and its bundle."""
    try:
        student = JobSpec.model_validate(spec).student.network
    except ValidationError:  # of another version: the attempt itself will say so
        return 0
    return 4 * student.parameters * (2 * CHECKPOINT_COPIES + 2)
