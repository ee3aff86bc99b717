"""What a job tells of itself. What it is asked to do is `app.spec.job.JobSpec`."""

from datetime import datetime
from typing import Any, Literal

from app.http.schema import Resource, example
from app.spec.job import JobSpec
from app.states import TERMINAL, State
from app.tables import Job, JobEvent

SMALLEST: dict[str, Any] = {
    "teachers": ["tch_06a1x7k2m3n4p5q6r7s8t9v0w"],
    "dataset": "dst_06a1x7k2m3n4p5q6r7s8t9v0w",
    "student": {"network": {"family": "mlp", "inputs": 784, "hidden": [800, 800], "classes": 10}},
}
USUAL: dict[str, Any] = {
    "name": "mnist 800-800",
    **SMALLEST,
    "method": {"name": "kd", "temperature": 20.0, "alpha": 0.9},
    "training": {
        "epochs": 20,
        "batch_size": 128,
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "schedule": {"name": "cosine", "warmup_epochs": 1},
        "augment": [{"name": "shift", "pixels": 2}],
    },
    "labels": {"team": "vision"},
}
SUPERVISED: dict[str, Any] = {
    "name": "a teacher",
    "dataset": "dst_06a1x7k2m3n4p5q6r7s8t9v0w",
    "student": {"network": {"family": "mlp", "inputs": 784, "hidden": [1200, 1200], "classes": 10}},
    "method": {"name": "supervised"},
}
EXAMPLES: list[dict[str, Any]] = [SMALLEST, USUAL, SUPERVISED]


LINKS = ("metrics", "events", "logs", "stream", "student", "artifacts", "report")
"""What there is to read below a job."""

_ID = "job_06a1x7k2m3n4p5q6r7s8t9v0w"
JOB: dict[str, Any] = {
    "id": _ID,
    "name": "mnist 800-800",
    "state": "running",
    "is_terminal": False,
    "phase": "training",
    "progress": {
        "stage": 0,
        "stages": 2,
        "epoch": 3,
        "epochs": 20,
        "step": 1266,
        "steps": 8440,
        "fraction": 0.08,
        "samples_per_s": 21500.0,
        "eta_s": 93.0,
    },
    "attempt": 1,
    "error": None,
    "spec": USUAL,
    "labels": {"team": "vision"},
    "sweep": None,
    "created_at": "2026-03-01T12:00:00Z",
    "started_at": "2026-03-01T12:00:00.2Z",
    "finished_at": None,
    "request_id": "req_5f0c2b7e9a31c4d8e6f70912",
    "links": {"self": f"/jobs/{_ID}", **{name: f"/jobs/{_ID}/{name}" for name in LINKS}},
}


class JobOut(Resource, json_schema_extra=example(JOB)):
    """A job."""

    id: str
    name: str
    state: str
    """queued, running, pausing, paused, cancelling, succeeded, failed, cancelled. More may come:
    look at is_terminal to know whether it has ended."""
    is_terminal: bool
    phase: str
    """Free text: validating, teaching, training, evaluating, exporting."""
    progress: dict[str, Any]
    """stage, stages, epoch, epochs, step, steps, fraction, samples_per_s, eta_s."""
    attempt: int
    error: dict[str, Any] | None
    """The problem, when failed."""
    spec: dict[str, Any]
    """As asked for, with every default."""
    labels: dict[str, str]
    sweep: str | None
    """The sweep that it belongs to."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    request_id: str | None
    """Of the request that made it, which the service's logs carry."""
    links: dict[str, str]

    @classmethod
    def of(cls, row: Job) -> "JobOut":
        here = f"/jobs/{row.id}"
        return cls(
            id=row.id,
            name=row.name,
            state=row.state,
            is_terminal=State(row.state) in TERMINAL,
            phase=row.phase,
            progress=row.progress,
            attempt=row.attempt,
            error=row.error,
            spec=row.spec,
            labels=row.labels,
            sweep=row.sweep_id,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            request_id=row.request_id,
            links={"self": here, **{name: f"{here}/{name}" for name in LINKS}},
        )


EVENT: dict[str, Any] = {
    "seq": 2,
    "at": "2026-03-01T12:00:00.2Z",
    "from_state": "queued",
    "to_state": "running",
    "attempt": 1,
    "reason": "claimed by train@worker-1",
    "kept_step": None,
}


class EventOut(Resource, json_schema_extra=example(EVENT)):
    """A step of a job from one state to another."""

    seq: int
    """Rises with time; shared with the job's metrics, so there are gaps."""
    at: datetime
    from_state: str | None
    """Null for a job that was just submitted."""
    to_state: str
    attempt: int
    reason: str
    kept_step: int | None
    """Where an attempt goes on from a checkpoint: its step. Points of later steps were taken back,
    and come again; -1 takes back all."""

    @classmethod
    def of(cls, row: JobEvent) -> "EventOut":
        return cls(
            seq=row.seq,
            at=row.at,
            from_state=row.from_state,
            to_state=row.to_state,
            attempt=row.attempt,
            reason=row.reason,
            kept_step=row.kept_step,
        )


class Warned(Resource):
    """Something that is allowed, and probably not meant."""

    pointer: str
    code: str
    detail: str


class Estimate(Resource):
    """What a job will take, from the shapes of its networks and what workers measured."""

    memory_bytes: int
    seconds: float | None
    """Null while no worker is there to tell its speed."""
    teacher_pass_flops: int
    """To compute the teachers' outputs once, should none be cached; a random teacher's too."""
    train_flops: int
    """Students, baselines and controls, forward and backward."""
    basis: str


VALIDATION: dict[str, Any] = {
    "valid": True,
    "spec": SMALLEST,
    "device": "cpu",
    "estimate": {
        "memory_bytes": 310000000,
        "seconds": 95.0,
        "teacher_pass_flops": 258422400000,
        "train_flops": 13700000000000,
        "basis": "60 % of the 187 GFLOP/s that a worker measured in fp32",
    },
    "warnings": [],
}


class ValidationOut(Resource, json_schema_extra=example(VALIDATION)):
    """A job that would be accepted, as it would run."""

    valid: Literal[True] = True
    spec: JobSpec
    """With every `auto` and default resolved."""
    device: str | None
    """Null while no worker is there to tell."""
    estimate: Estimate
    warnings: list[Warned]
