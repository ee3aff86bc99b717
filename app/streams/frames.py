"""What streams say, as bytes: made once, and sent to all who follow the job."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi.sse import format_sse_event
from pydantic_core import to_json

from app.jobs.schemas import EventOut, JobOut
from app.streams.repository import Point, Standing
from app.tables import Job, JobEvent

MOST_POINTS: Final = 1000
"""In one event."""


@dataclass(frozen=True)
class Frame:
    """All that a follower who knows of `after` has to hear to know of `upto`."""

    after: int
    upto: int
    body: bytes


def told(points: Sequence[Point], events: Sequence[JobEvent]) -> bytes:
    """Points and transitions, in the order of their numbers."""
    parts: list[bytes] = []
    start = 0
    for event in events:
        end = next((at for at in range(start, len(points)) if points[at].seq > event.seq), None)
        parts += _metrics(points[start:end])
        data = EventOut.of(event).model_dump(mode="json")
        parts.append(_event("state", data, event.seq))
        start = len(points) if end is None else end
    parts += _metrics(points[start:])
    return b"".join(parts)


def progress(standing: Standing, upto: int) -> bytes:
    """Where the job stands now, to one who knows of `upto`. Nobody needs an earlier one again."""
    data = {
        "state": standing.state,
        "phase": standing.phase,
        "attempt": standing.attempt,
        "progress": standing.progress,
    }
    return _event("progress", data, upto)


def done(job: Job) -> bytes:
    """The end. Its number is one more than the job's last, so that it is known who has heard it."""
    return _event("done", JobOut.of(job).model_dump(mode="json"), job.seq + 1)


def _metrics(points: Sequence[Point]) -> Iterator[bytes]:
    for start in range(0, len(points), MOST_POINTS):
        some = points[start : start + MOST_POINTS]
        series: dict[str, dict[str, Any]] = {}
        for point in some:
            one = series.setdefault(
                point.key, {"key": point.key, "step": [], "epoch": [], "time": [], "value": []}
            )
            one["step"].append(point.step)
            one["epoch"].append(point.epoch)
            one["time"].append(point.time)
            one["value"].append(point.value)
        yield _event("metrics", {"series": list(series.values())}, some[-1].seq)


def _event(name: str, data: Any, number: int) -> bytes:
    return format_sse_event(data_str=to_json(data).decode(), event=name, id=str(number))
