"""Sweeps, from a job file and a grid to the table of what came of them."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.text import Text

from stillhouse import Stillhouse, Sweep, errors, models
from stillhouse.cli import output
from stillhouse.cli.failures import Mistaken
from stillhouse.cli.jobfile import JobFile, Steps, parsed
from stillhouse.cli.localparts import Parts
from stillhouse.cli.mistakes import explained


def submitted(
    still: Stillhouse, path: Path, grid: Sequence[str], name: str | None, max_jobs: int
) -> Sweep:
    """Raises Mistaken. Nothing is sent before the service has found the jobs right."""
    axes = dict(_axis(one) for one in grid)
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if len(points) > max_jobs:
        raise Mistaken(f"This grid has {len(points):,} points; --max-jobs says {max_jobs}.")
    file = JobFile.read(path)
    base = file.document
    parts = Parts.of(file)
    local = parts.teachers or parts.dataset or parts.student
    # Of jobs that need nothing from here the service checks all at once, when it makes them.
    for point in points if local else points[:1]:
        file.document = copy.deepcopy(base)
        file.put(point)
        Parts.of(file).check_job(still)
    file.document = base
    if local:
        parts.check(still)
    job = parts.send(still)
    sweep: dict[str, Any] = {"job": job, "grid": axes, "max_jobs": max_jobs}
    try:
        return still.sweeps.create(**sweep, name=name or job.get("name") or path.stem)
    except (errors.Unprocessable, errors.BadRequest) as problem:
        wrong = explained(still, file, problem, sweep, "SweepSpec", placed=_placed)
        raise wrong or problem from None


def wait(sweep: Sweep, *, quiet: bool) -> None:
    console = output.aside()
    live = Live(console=console, refresh_per_second=4, transient=True)
    with live if console.is_terminal and not quiet else nullcontext():
        sweep.wait(on_change=lambda now: live.update(Text(counted(now))))


def show(sweep: Sweep, *, as_json: bool) -> None:
    """Best student first, by what students are chosen by."""
    if as_json:
        output.emit(sweep)
        return
    metric = sweep.best.metric.removeprefix("validation/") if sweep.best else "accuracy"
    sign = 1 if metric == "loss" else -1
    rows = sorted(sweep.results or (), key=lambda row: _rank(row, metric, sign))
    output.table(
        [
            "id",
            *sweep.parameters,
            "state",
            f">validation {metric}",
            ">test",
            ">baseline",
            "verdict",
        ],
        [
            (
                row.job,
                *(json.dumps(row.parameters.get(name)) for name in sweep.parameters),
                output.Marked(output.state(row.state)),
                _told((row.validation or {}).get(metric), metric),
                _told(row.test_accuracy),
                _told(row.baseline_accuracy),
                row.verdict or row.error,
            )
            for row in rows
        ],
    )
    if sweep.best:
        point = ", ".join(
            f"{name} = {json.dumps(it)}" for name, it in sweep.best.parameters.items()
        )
        output.console().print(f"\nbest: {sweep.best.job} ({point})", markup=False)


def list_all(still: Stillhouse, limit: int, everything: bool, *, as_json: bool) -> None:
    sweeps = output.newest(still.sweeps.list, limit, everything)
    if as_json:
        output.emit(sweeps)
        return
    output.table(
        ["id", "name", "state", "jobs", "fields"],
        [
            (
                one.id,
                one.name,
                output.Marked(output.state(one.state)),
                counted(one),
                ", ".join(one.parameters),
            )
            for one in sweeps
        ],
    )


def _axis(given: str) -> tuple[str, list[Any]]:
    field, equals, values = given.partition("=")
    if not equals or not field or not values:
        raise Mistaken(f"--grid is FIELD=VALUES, such as method.temperature=2,4,8, not {given!r}.")
    return field, list(parsed(values if values.startswith("[[") else f"[{values}]"))


def _placed(steps: Steps) -> Steps:
    """Where in the job file, or as what of the command line, a place of a sweep stands."""
    if steps[:1] == ("job",):
        return steps[1:]
    if steps[:1] == ("grid",) and len(steps) > 1:
        return tuple(str(steps[1]).split("."))
    return steps


def _rank(row: models.Row, metric: str, sign: int) -> tuple[bool, float]:
    value = (row.validation or {}).get(metric)
    return value is None, sign * (value or 0.0)


def counted(sweep: Sweep) -> str:
    return ", ".join(f"{count} {state}" for state, count in sweep.jobs.items())


def _told(value: float | None, metric: str = "accuracy") -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if metric == "loss" else f"{value:.2%}"
