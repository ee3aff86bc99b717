"""What supervisor and trainer say to each other: one JSON object a line, over two pipes.

The supervisor starts `python -m workers.runner --standby`, or has the fork server do the like, with
the write end of a pipe as the file descriptor named in STILLHOUSE_EVENTS_FD. The trainer warms up
and says `hello`. Then it waits on its stdin for one order, obeys it and exits: one process, one
order.

Orders (supervisor -> trainer's stdin):

    {"order": "train", "job_file": PATH, "out": DIR}
    {"order": "inspect_teacher", "file": PATH, "filename": STR, "network": {...}}
    {"order": "inspect_dataset", "files": {SPLIT or "all": [PATH, ...]}, "spec": {...}, "out": PATH,
     "max_bytes": INT}
    {"order": "evaluate", "subject": {TeacherFile}, "dataset": {PreparedFile}, "split": STR,
     "class_names": [...] or null}
    {"order": "export_student", "file": PATH, "about": PATH, "network": {...}, "format": STR,
     "out": PATH}
    {"order": "report", "of": {...app.spec.jobfile.ReportFile...}, "out": PATH}

Each with "bounds": {"memory_bytes": INT or null, "file_bytes": INT or null}, which the trainer lays
upon itself first (limits.py).

SIGTERM asks a training for a checkpoint and a quick end: it answers `stopped`.

Events (trainer -> supervisor), each with its name in "event":

    hello       device, memory_bytes, gflops {precision: rate}, step_s
    resolved    device, threads, precision     what `auto` became, before the first step
    phase       phase                          validating, teaching, training, evaluating, exporting
    progress    stage, stages, epoch, epochs, step, steps, fraction, samples_per_s, eta_s
    metrics     points [[key, step, epoch, time, value or null], ...]
    checkpoint  name, file, sha256, size, stage, step, best    a new file in the run's folder
    deliverable name, file, sha256, size, stage                what a finished stage hands on
    artifact    name, kind, format, file, sha256, size         student, report, ...
                 facts {...}                                    a report's figures, kept in its row
    inspected   facts                                          the answer to all orders but train
    failed      problem {...}                                  the job's or the resource's `error`
    stopped     -                                              ended on SIGTERM, after a checkpoint
    done        -
"""

import json
import os
import threading
from typing import Any

EVENTS_FD = "STILLHOUSE_EVENTS_FD"


class Events:
    """The trainer's end: writes events, whole lines at a time, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._lock = threading.Lock()

    def send(self, event: str, **fields: Any) -> None:
        """Raises BrokenPipeError once the supervisor is gone."""
        line = json.dumps({"event": event, **fields}, allow_nan=False).encode() + b"\n"
        with self._lock:
            view = memoryview(line)
            while view:
                view = view[self._file.write(view) :]
