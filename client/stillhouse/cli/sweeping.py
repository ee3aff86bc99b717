"""Sweeps: the jobs of a grid, found again by a label, compared by their reports."""

from __future__ import annotations

import copy
import itertools
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.text import Text

from stillhouse import Job, Stillhouse, errors
from stillhouse.cli import output
from stillhouse.cli.failures import Mistaken
from stillhouse.cli.jobfile import JobFile, parsed, put
from stillhouse.cli.localparts import Parts
from stillhouse.cli.mistakes import explained

LABEL = "sweep"
MOST = 200
PAUSE_S = 1.0


def submitted(still: Stillhouse, path: Path, grid: Sequence[str], name: str | None) -> str:
    """The sweep's name. Every job is checked before the first one is made."""
    axes = dict(_axis(one) for one in grid)
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if len(points) > MOST:
        raise Mistaken(f"This grid has {len(points):,} points; {MOST} is the most.")
    file = JobFile.read(path)
    sweep = _name(name or str(file.document.get("name") or path.stem))
    base = file.document
    for point in points:
        file.document = copy.deepcopy(base)
        file.put(point)
        Parts.of(file).check_job(still)
    file.document = base
    parts = Parts.of(file)
    parts.check(still)
    sent = parts.send(still)
    for point in points:
        job = _at(sent, point)
        job["labels"] = {**(job.get("labels") or {}), LABEL: sweep}
        job["name"] = f"{job.get('name') or path.stem} {_short(point)}"[:200]
        try:
            still.jobs.create(**job)
        except (errors.Unprocessable, errors.BadRequest) as problem:
            raise explained(still, file, problem, job, "JobSpec") or problem from None
    return sweep


def wait(still: Stillhouse, sweep: str, *, quiet: bool) -> None:
    console = output.aside()
    live = Live(console=console, refresh_per_second=4, transient=True)
    with live if console.is_terminal and not quiet else nullcontext():
        while jobs := [job for job in _jobs(still, sweep) if not job.is_terminal]:
            running = [f"{job.name} {_done(job):.0%}" for job in jobs if job.state == "running"]
            live.update(Text(f"{len(jobs)} jobs to go; running: {', '.join(running) or '-'}"))
            time.sleep(PAUSE_S)


def show(still: Stillhouse, sweep: str, *, as_json: bool) -> None:
    jobs = _jobs(still, sweep)
    if not jobs:
        raise Mistaken(
            f"There is no sweep {sweep}. `stillhouse jobs list --label {LABEL}=NAME` looks for one."
        )
    varied = varying([job.spec for job in jobs])
    rows = [_row(job, fields) for job, fields in zip(jobs, varied, strict=True)]
    rows.sort(key=lambda row: -(row["accuracy"] if row["accuracy"] is not None else -1.0))
    if as_json:
        output.emit({"sweep": sweep, "jobs": rows})
        return
    names = list(varied[0])
    output.table(
        ["id", *names, "state", ">student", ">baseline", ">agreement", "verdict"],
        [
            (
                row["job"],
                *(json.dumps(row["fields"].get(name)) for name in names),
                output.Marked(output.state(row["state"])),
                *(_percent(row[it]) for it in ("accuracy", "baseline", "agreement")),
                row["verdict"],
            )
            for row in rows
        ],
    )
    if rows[0]["accuracy"] is not None:
        best = ", ".join(f"{name} = {json.dumps(it)}" for name, it in rows[0]["fields"].items())
        output.console().print(f"\nbest: {rows[0]['job']} ({best})", markup=False)


def varying(specs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each specification the fields in which any of them differ, by dotted names."""
    flat = [dict(_leaves(spec, ())) for spec in specs]
    names = dict.fromkeys(name for one in flat for name in one)
    differ = [
        name
        for name in names
        if name not in ("name", f"labels.{LABEL}")
        and len({json.dumps(one.get(name), sort_keys=True) for one in flat}) > 1
    ]
    return [{name: one.get(name) for name in differ} for one in flat]


def _leaves(value: Any, steps: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*steps, key))
    else:
        yield ".".join(steps), value


def _axis(given: str) -> tuple[str, list[Any]]:
    field, equals, values = given.partition("=")
    if not equals or not field or not values:
        raise Mistaken(f"--grid is FIELD=VALUES, such as method.temperature=2,4,8, not {given!r}.")
    return field, list(parsed(values if values.startswith("[[") else f"[{values}]"))


def _at(document: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    job = copy.deepcopy(dict(document))
    put(job, point)
    return job


def _name(given: str) -> str:
    """A label's value, and one that no earlier sweep has."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", given).strip("-")[:50]
    return f"{plain or 'sweep'}-{secrets.token_hex(3)}"


def _short(point: Mapping[str, Any]) -> str:
    return " ".join(f"{name.rpartition('.')[2]}={value}" for name, value in point.items())


def _jobs(still: Stillhouse, sweep: str) -> list[Job]:
    return list(still.jobs.list(labels={LABEL: sweep}, page_size=200))[::-1]


def _row(job: Job, fields: Mapping[str, Any]) -> dict[str, Any]:
    report: dict[str, Any] = job.report() if job.state == "succeeded" else {}
    student, baseline = report.get("student") or {}, report.get("baseline") or {}
    return {
        "job": job.id,
        "fields": dict(fields),
        "state": job.state,
        "accuracy": student.get("accuracy"),
        "baseline": baseline.get("accuracy"),
        "agreement": student.get("agreement"),
        "verdict": report.get("verdict"),
    }


def _done(job: Job) -> float:
    return float(job.progress.get("fraction") or 0.0)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"
