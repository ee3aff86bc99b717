"""What one run tells, kept in its folder, so that the next sitting goes on where this one ended."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.spec.jobfile import Checkpoint, Deliverable, JobFile

TELL_S = 30.0


class Journal:
    """A Reporter (workers.engine.reporter) that writes state.json and metrics.jsonl."""

    def __init__(self, folder: Path, ends: Callable[[], bool], tell: Callable[[str], None]) -> None:
        """`ends` says whether to stop; `tell` is given a line now and then."""
        self.folder, self.ends, self.tell = folder, ends, tell
        self.state: dict[str, Any] = {
            "resolved": None, "checkpoints": [], "deliverables": [], "once": {}, "seconds": 0.0
        }  # fmt: skip
        if self._state_file.exists():
            self.state = json.loads(self._state_file.read_text())
        self._metrics = (folder / "metrics.jsonl").open("a")
        self._began = self._told = time.monotonic()

    @property
    def _state_file(self) -> Path:
        return self.folder / "state.json"

    @property
    def stopping(self) -> bool:
        return self.ends()

    def resume(self, file: JobFile) -> JobFile:
        """The job file, going on from what earlier sittings left whole."""
        delivered = [
            Deliverable(stage=one["stage"], file=one["file"], sha256=one["sha256"])
            for one in self.state["deliverables"]
            if _whole(one)
        ]
        stages = {one.stage for one in delivered}
        checkpoints = [
            Checkpoint(file=one["file"], sha256=one["sha256"])
            for one in reversed(self.state["checkpoints"])
            if one["stage"] not in stages and _whole(one)
        ]
        found = {
            "resolved": self.state["resolved"],
            "checkpoint": checkpoints[0] if checkpoints else None,
            "deliverables": delivered,
            "once": {name: one["file"] for name, one in self.state["once"].items() if _whole(one)},
        }
        return JobFile.model_validate(file.model_dump() | found)

    def send(self, event: str, **fields: Any) -> None:
        match event:
            case "metrics":
                for point in fields["points"]:
                    self._metrics.write(json.dumps(point) + "\n")
                return
            case "progress":
                self._progress(fields)
                return
            case "resolved" if self.state["resolved"] is None:
                self.state["resolved"] = fields
            case "checkpoint":
                self.state["checkpoints"].append(fields)
                for old in self.state["checkpoints"][:-2]:
                    Path(old["file"]).unlink(missing_ok=True)
                del self.state["checkpoints"][:-2]
            case "deliverable":
                self.state["deliverables"].append(fields)
            case "artifact" if fields["kind"] == "once":
                self.state["once"][fields["name"]] = fields
            case _:
                return
        self._save()

    def close(self) -> None:
        """Counts this sitting's seconds."""
        self._metrics.close()
        self.state["seconds"] += time.monotonic() - self._began
        self._save()

    def curve(self, key: str) -> list[float]:
        """A metric's values in the order of steps, each step as it was told last."""
        points = (json.loads(line) for line in (self.folder / "metrics.jsonl").open())
        found = {step: value for name, step, _, _, value in points if name == key}
        return [found[step] for step in sorted(found)]

    def forget(self) -> None:
        """Removes what only a resumed run would need."""
        for one in [*self.state["checkpoints"], *self.state["deliverables"]]:
            Path(one["file"]).unlink(missing_ok=True)
        self.state["checkpoints"] = self.state["deliverables"] = []
        self._save()

    def _save(self) -> None:
        self._metrics.closed or self._metrics.flush()
        part = self._state_file.with_suffix(".part")
        part.write_text(json.dumps(self.state))
        part.replace(self._state_file)

    def _progress(self, fields: dict[str, Any]) -> None:
        now = time.monotonic()
        if now - self._told > TELL_S:
            self._told = now
            self.tell(
                f"stage {fields['stage']}/{fields['stages']}, epoch {fields['epoch']:.1f} of "
                f"{fields['epochs']}, {fields['samples_per_s']:,.0f} examples/s"
            )


def _whole(made: dict[str, Any]) -> bool:
    """Whether a file is there as it was written."""
    try:
        with Path(made["file"]).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == made["sha256"]
    except OSError:
        return False
