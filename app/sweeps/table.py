"""What a sweep's jobs come to: where it stands, how they compare, which one is best."""

from collections.abc import Sequence
from typing import Any

from app.spec.job import MODES
from app.spec.sweep import SweepSpec
from app.states import State
from app.sweeps.repository import Line
from app.sweeps.schemas import Best, Row


def rows(spec: SweepSpec, lines: Sequence[Line]) -> list[Row]:
    points = list(spec.points())
    return [_row(line, dict(points[line.place])) for line in lines]


def _row(line: Line, parameters: dict[str, Any]) -> Row:
    figures = line.figures
    accuracy = figures.get("accuracy", {})
    tested = figures.get("split") == "test"
    return Row(
        job=line.job_id,
        parameters=parameters,
        state=line.state,
        error=line.error and line.error.get("code"),
        validation=figures.get("validation"),
        test_accuracy=accuracy.get("student") if tested else None,
        baseline_accuracy=accuracy.get("baseline") if tested else None,
        difference=figures.get("difference"),
        verdict=figures.get("verdict"),
    )


def metric(spec: SweepSpec, some: Sequence[Row]) -> str:
    """The job's own where it selects by one, else accuracy, or agreement without labels."""
    select = spec.job.get("select")
    chosen = select.get("metric") if isinstance(select, dict) else None
    if chosen in MODES and not any(path.startswith("select") for path in spec.grid):
        return str(chosen)
    labelled = [row for row in some if row.validation and "accuracy" in row.validation]
    measured = [row for row in some if row.validation]
    return "validation/agreement" if measured and not labelled else "validation/accuracy"


def best(some: Sequence[Row], name: str) -> Best | None:
    """Of those that succeeded; of equal ones the first."""
    key = name.removeprefix("validation/")
    measured = [
        (row.validation[key], row)
        for row in some
        if row.state == State.SUCCEEDED and row.validation and key in row.validation
    ]
    if not measured:
        return None
    pick = max if MODES[name] == "max" else min
    value, row = pick(measured, key=lambda one: one[0])
    return Best(job=row.job, parameters=row.parameters, metric=name, value=value)
