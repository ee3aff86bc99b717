"""What a job's log says beside the trainer's own prints: lines of `key=value`."""

from datetime import UTC, datetime
from typing import Any

from structlog.processors import LogfmtRenderer

LEFT_OUT = ("file", "points")
_render = LogfmtRenderer(key_order=["time", "event"], bool_as_flag=False)


def line(event: str, **fields: Any) -> str:
    """With the time, and no newline inside."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(_render(None, "", {"time": now, "event": event, **fields}))


class Narrator:
    """Tells of a trainer's events what a person would want to read later."""

    def __init__(self) -> None:
        self._phase = ""

    def tell(self, event: str, fields: dict[str, Any]) -> str | None:
        """None for what comes many times a second."""
        match event:
            case "progress":
                return None
            case "metrics":
                return _validation(fields["points"])
            case "phase":
                # "teaching (512 of 60,000 examples)" counts on.
                phase = fields["phase"].partition(" (")[0]
                if phase == self._phase:
                    return None
                self._phase = phase
                return line("phase", phase=phase)
        return line(event, **{key: fields[key] for key in fields if key not in LEFT_OUT})


def _validation(points: list[Any]) -> str | None:
    """What an epoch has come to: key, step, epoch, time and value of each point."""
    found = {key: value for key, _, _, _, value in points if "validation/" in key}
    if not found:
        return None
    _, step, epoch, _, _ = next(point for point in points if "validation/" in point[0])
    return line("validation", epoch=round(epoch, 3), step=step, **found)
