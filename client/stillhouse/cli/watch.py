"""A job as it goes, on a terminal: state, progress with rate and ETA, and its curves."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stillhouse import Job
from stillhouse.cli import output, plot
from stillhouse.errors import JobFailed
from stillhouse.updates import (
    DoneUpdate,
    MetricsUpdate,
    ProgressUpdate,
    StateUpdate,
    Update,
)

SHOWN = (
    ("train/loss", "baseline/0/train/loss"),
    ("validation/accuracy", "baseline/0/validation/accuracy"),
)
"""Curves that are drawn together."""
KEPT = 2000
"""Points of a curve; older ones are thinned."""


def watch(job: Job, *, as_json: bool = False) -> None:
    """Until it has ended. Raises JobFailed, and KeyboardInterrupt where the person has enough."""
    if as_json:
        for update in job.stream():
            output.line(told(update))
    elif sys.stderr.isatty():
        _live(job)
    else:
        _plainly(job)
    if job.state != "succeeded":
        raise JobFailed(job.id, job.state, job.error)


def told(update: Update) -> dict[str, Any]:
    """An update as JSON: its kind, and what it says."""
    kind = type(update).__name__.removesuffix("Update").lower()
    values: dict[str, Any] = {}
    for field in dataclasses.fields(update):
        value = getattr(update, field.name)
        if isinstance(value, BaseModel):
            values[field.name] = value.model_dump(mode="json")
        elif isinstance(value, list):
            values[field.name] = [dataclasses.asdict(it) for it in value]
        else:
            values[field.name] = value
    return {"kind": kind, **values}


class View:
    """What has been told so far, as it is drawn."""

    def __init__(self, job: Job) -> None:
        self._name = f"{job.name} ({job.id})"
        self._state, self._phase, self._progress = job.state, job.phase, job.progress
        self._curves: dict[str, tuple[list[float], list[float | None]]] = {}

    def hear(self, update: Update) -> None:
        match update:
            case MetricsUpdate(series):
                for one in series:
                    x, y = self._curves.setdefault(one.key, ([], []))
                    x.extend(one.step)
                    y.extend(one.value)
                    if len(x) > KEPT:
                        del x[:-1:2], y[:-1:2]
            case ProgressUpdate():
                self._state, self._phase = update.state, update.phase
                self._progress = update.progress
            case StateUpdate(event):
                self._state = event.to_state
            case DoneUpdate(job):
                self._state, self._phase, self._progress = job.state, job.phase, job.progress

    def __rich__(self) -> Group:
        head = Text.assemble(
            (self._name, "bold"),
            "  ",
            (self._state, output.STATES.get(self._state, "")),
            f"  {self._phase if self._phase != self._state else ''}",
        )
        return Group(head, self._bar(), *self._charts())

    def line(self) -> str:
        """All of it in one line, for where nothing can be drawn."""
        latest = [
            f"{key} {plot.number(y[-1])}"
            for keys in SHOWN
            for key in keys[:1]
            for _, y in [self._curves.get(key, ([], []))]
            if y and y[-1] is not None
        ]
        return "  ".join([self._state, f"{self._fraction:.0%}", self._phase, *latest]).strip()

    @property
    def _fraction(self) -> float:
        return float(self._progress.get("fraction") or 0.0)

    def _bar(self) -> Table:
        told = self._progress
        rate, eta = told.get("samples_per_s"), told.get("eta_s")
        notes = [f"{self._fraction:6.1%}"]
        if told.get("epochs"):
            notes.append(f"epoch {told.get('epoch')}/{told['epochs']}")
        if told.get("stages") and told["stages"] > 1:
            notes.append(f"stage {told.get('stage', 0) + 1}/{told['stages']}")
        if rate:
            notes.append(f"{rate:,.0f} samples/s")
        if eta is not None and self._state == "running":
            notes.append(f"ETA {output.lasting(eta)}")
        row = Table.grid(padding=(0, 2))
        row.add_column(width=32)
        row.add_column(no_wrap=True)
        row.add_row(ProgressBar(total=1.0, completed=self._fraction, width=32), "  ".join(notes))
        return row

    def _charts(self) -> Iterator[Table]:
        side_by_side = Table.grid(padding=(0, 3))
        charts = []
        for keys in SHOWN:
            curves = [plot.Curve(key, *self._curves[key]) for key in keys if key in self._curves]
            for kind, group in plot.together(curves).items():
                charts.append(plot.chart(kind, group, width=52, height=8))
        if charts:
            side_by_side.add_row(*charts)
            yield side_by_side


def _live(job: Job) -> None:
    view = View(job)
    with Live(view, console=output.aside(), refresh_per_second=8, transient=False):
        for update in job.stream():
            view.hear(update)


def _plainly(job: Job) -> None:
    """A line whenever something has changed that a log should have."""
    view, last = View(job), ("", -1)
    for update in job.stream():
        view.hear(update)
        mark = (view._state + view._phase, int(view._fraction * 10))
        if mark != last and isinstance(update, ProgressUpdate | DoneUpdate):
            output.aside().print(view.line(), soft_wrap=True)
            last = mark
