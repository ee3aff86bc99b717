"""An example of a stream, made by what makes streams."""

from datetime import UTC, datetime

from app.jobs.schemas import JOB
from app.streams import frames
from app.streams.repository import Point, Standing
from app.tables import JobEvent

_AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
EXAMPLE = (
    frames.told(
        [
            Point(3, "train/loss", 1, 0.1, 1772366400.9, 2.31),
            Point(4, "train/loss", 2, 0.2, 1772366401.0, 2.28),
        ],
        [
            JobEvent(
                job_id=JOB["id"],
                seq=2,
                at=_AT,
                from_state="queued",
                to_state="running",
                attempt=1,
                reason="claimed by train@worker-1",
            )
        ],
    )
    + frames.progress(Standing(4, "running", "training", 1, JOB["progress"]), 4)
).decode()
