"""What sweeps are asked to be is `app.spec.sweep.SweepSpec`; this is what they tell."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app.http.schema import Resource, example
from app.jobs.schemas import SMALLEST
from app.states import TERMINAL, sweep_state
from app.sweeps.repository import Count
from app.tables import Sweep

TEMPERATURES: dict[str, Any] = {
    "name": "temperatures",
    "job": {**SMALLEST, "method": {"name": "kd", "alpha": 0.9}},
    "grid": {"method.temperature": [1, 4, 8], "training.optimizer.lr": [0.05, 0.1]},
    "max_jobs": 100,
}

ROW: dict[str, Any] = {
    "job": "job_06a1x7k2m3n4p5q6r7s8t9v0w",
    "parameters": {"method.temperature": 4, "training.optimizer.lr": 0.1},
    "state": "succeeded",
    "error": None,
    "validation": {"loss": 0.061, "accuracy": 0.983, "agreement": 0.989},
    "test_accuracy": 0.981,
    "baseline_accuracy": 0.972,
    "difference": {"accuracy": 0.009, "interval": [0.004, 0.014], "p": 0.0006},
    "verdict": "helped",
}


class Row(Resource):
    """One job of the grid. What its report will tell is null before."""

    job: str
    parameters: dict[str, Any]
    """The grid's values, by path."""
    state: str
    error: str | None
    """The problem's code, when failed."""
    validation: dict[str, float] | None
    """accuracy, loss, agreement: what students are chosen by."""
    test_accuracy: float | None
    """Null too where the data set has no test split."""
    baseline_accuracy: float | None
    difference: dict[str, Any] | None
    """student - baseline: accuracy, interval, p."""
    verdict: str | None


BEST: dict[str, Any] = {
    "job": ROW["job"],
    "parameters": ROW["parameters"],
    "metric": "validation/accuracy",
    "value": 0.983,
}


class Best(Resource):
    """Chosen on the validation split, so that its test accuracy means what it says."""

    job: str
    parameters: dict[str, Any]
    metric: str
    value: float


_ID = "swp_06a1x7k2m3n4p5q6r7s8t9v0w"
SWEEP: dict[str, Any] = {
    "id": _ID,
    "name": "temperatures",
    "state": "running",
    "is_terminal": False,
    "jobs": {"succeeded": 1, "running": 1, "queued": 4},
    "spec": TEMPERATURES,
    "parameters": ["method.temperature", "training.optimizer.lr"],
    "results": [ROW],
    "best": BEST,
    "created_at": "2026-03-01T12:00:00Z",
    "finished_at": None,
    "links": {"self": f"/sweeps/{_ID}", "jobs": f"/jobs?sweep={_ID}"},
}


class SweepOut(Resource, json_schema_extra=example(SWEEP)):
    """A sweep."""

    id: str
    name: str
    state: str
    """queued, running, paused, cancelling, succeeded (all jobs did), failed (some did), cancelled
    (some were). More may come: look at is_terminal."""
    is_terminal: bool
    jobs: dict[str, int]
    """How many, by state."""
    spec: dict[str, Any]
    """As asked for."""
    parameters: list[str]
    """The grid's paths."""
    results: list[Row] | None = None
    """The table, in the order of the grid; null in lists. Jobs that were deleted are missing."""
    best: Best | None = None
    created_at: datetime
    finished_at: datetime | None
    links: dict[str, str]

    @classmethod
    def of(cls, row: Sweep, counts: Sequence[Count], **table: Any) -> "SweepOut":
        state = sweep_state([one.state for one in counts])
        over = state in TERMINAL
        ends = [one.last for one in counts if one.last is not None]
        return cls(
            id=row.id,
            name=row.name,
            state=state,
            is_terminal=over,
            jobs={one.state: one.jobs for one in counts},
            spec=row.spec,
            parameters=list(row.spec["grid"]),
            created_at=row.created_at,
            finished_at=max(ends, default=None) if over else None,
            links={"self": f"/sweeps/{row.id}", "jobs": f"/jobs?sweep={row.id}"},
            **table,
        )
