"""The run in a table, for people."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from app.db import Database
from app.states import State
from app.tables import JobEvent
from benchmarks.chaos.injector import Blow
from benchmarks.chaos.service import LEASE_S, SWEEP_S

Rows = list[tuple[str, object]]


@dataclass
class Recoveries:
    """Seconds from the beginning of a fault until each job whose attempt it ended ..."""

    queued: list[float]
    """... was queued again."""
    claimed: list[float]
    """... was held by a new attempt."""
    slow: list[str]
    """Those that took longer than a lease and a sweep to be queued, and their faults."""


def recoveries(database: Database, blows: Sequence[Blow]) -> Recoveries:
    """From the audit of transitions: the machine's and the database's clock are the same here."""
    with database.reading() as session:
        events = session.execute(
            select(JobEvent.job_id, JobEvent.to_state, JobEvent.attempt, JobEvent.at).order_by(
                JobEvent.job_id, JobEvent.seq
            )
        ).all()
    queued: dict[tuple[str, int], float] = {}
    claimed: dict[tuple[str, int], float] = {}
    for job, state, attempt, at in events:
        if state == State.QUEUED and attempt > 0:
            queued[job, attempt] = at.timestamp()
        elif state == State.RUNNING:
            claimed[job, attempt] = at.timestamp()
    found = Recoveries([], [], [])
    # Of several faults that an attempt saw, the last one before its end is taken to be the cause.
    causes: dict[tuple[str, int], Blow] = {}
    for blow in blows:
        for job, (attempt, _) in blow.held.items():
            end = queued.get((job, attempt))
            if end is not None and blow.began.timestamp() <= end:
                causes[job, attempt] = blow
    for (job, attempt), blow in causes.items():
        began = blow.began.timestamp()
        found.queued.append(queued[job, attempt] - began)
        if found.queued[-1] > LEASE_S + SWEEP_S:
            worker = blow.held[job][1]
            found.slow.append(f"{found.queued[-1]:.1f} s after {blow.name}: {job} of {worker}")
        if (job, attempt + 1) in claimed:
            found.claimed.append(claimed[job, attempt + 1] - began)
    return found


def quantiles(values: Sequence[float]) -> str:
    """p50 / p99 / largest, by nearest rank."""
    if not values:
        return "-"
    ordered = sorted(values)
    at = [ordered[max(math.ceil(share * len(ordered)) - 1, 0)] for share in (0.5, 0.99, 1.0)]
    return " / ".join(f"{value:.1f}" for value in at) + " s"


def table(columns: Mapping[str, Rows]) -> str:
    """Markdown; "-" stands for what is not possible in a column's set-up."""
    order: list[str] = []
    for rows in columns.values():
        at = 0
        for name, _ in rows:
            if name not in order:
                order.insert(at, name)
            at = order.index(name) + 1
    found = [dict(rows) for rows in columns.values()]
    lines = ["| what | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name in order:
        cells = [_cell(rows.get(name, "-")) for rows in found]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def fault_rows(blows: Sequence[Blow]) -> Rows:
    counts = Counter(blow.name for blow in blows)
    return [("**faults**", len(blows)), *((f"- {name}", counts[name]) for name in sorted(counts))]
