"""What a job's live stream tells, piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stillhouse.models import EventOut, JobOut

if TYPE_CHECKING:
    from stillhouse.curves import Metrics


@dataclass(frozen=True)
class Points:
    """New points of one curve. A value that was not finite is None."""

    key: str
    step: list[int]
    value: list[float | None]
    epoch: list[float] = field(default_factory=list)
    """Empty, like `time`, where the service has no streams and is asked again and again."""
    time: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class MetricsUpdate:
    """Points that were not there before."""

    series: list[Points]


@dataclass(frozen=True)
class ProgressUpdate:
    """Where the job stands."""

    state: str
    phase: str
    attempt: int
    progress: dict[str, Any]


@dataclass(frozen=True)
class StateUpdate:
    """A step from one state to another."""

    event: EventOut


@dataclass(frozen=True)
class DoneUpdate:
    """The job has ended; nothing follows."""

    job: JobOut


Update = MetricsUpdate | ProgressUpdate | StateUpdate | DoneUpdate


def read(name: str, data: str) -> Update | None:
    """An event of the stream; None for a kind that this client does not know. Raises ValueError
    for one that it cannot read."""
    match name:
        case "metrics":
            series = json.loads(data)["series"]
            fields = Points.__dataclass_fields__
            return MetricsUpdate(
                [Points(**{name: it[name] for name in fields if name in it}) for it in series]
            )
        case "progress":
            told = json.loads(data)
            return ProgressUpdate(
                told["state"], told["phase"], told["attempt"], told["progress"] or {}
            )
        case "state":
            return StateUpdate(EventOut.model_validate_json(data))
        case "done":
            return DoneUpdate(JobOut.model_validate_json(data))
    return None


def asked(metrics: Metrics) -> Iterator[MetricsUpdate]:
    """What a question about metrics says, as the stream would tell it."""
    series = [Points(one.key, [int(x) for x in one.x], one.y) for one in metrics.series if one.x]
    if series:
        yield MetricsUpdate(series)
