"""docs/results.json: one line a run, with the machine, the day and the commit it comes from."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.__main__ import processor
from benchmarks.reproduce.runs import Book
from workers.engine.conduct import ENGINE_VERSION

Records = dict[str, dict[str, Any]]


def load(path: Path) -> Records:
    """Every record, by the run's name; none where there is no file yet."""
    found: Records = json.loads(path.read_text()) if path.exists() else {}
    return found


def current(records: Records, book: Book) -> Records:
    """Those of runs as the book now declares them; what was measured otherwise is left out."""
    return {
        name: record
        for name, record in records.items()
        if name in book.runs and record["key"] == book.key(name)
    }


def add(path: Path, name: str, record: dict[str, Any]) -> None:
    """Enters a run, in place of an earlier one of its name."""
    records = load(path)
    if records.get(name) != record:
        records[name] = record
        lines = (f'"{one}": {json.dumps(records[one])}' for one in sorted(records))
        part = path.with_suffix(".part")
        part.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        part.replace(path)


def here(device: str) -> dict[str, Any]:
    """The machine, the day and the code."""
    machine = f"{processor()}, {os.cpu_count()} cores"
    if device.startswith("cuda"):
        machine = f"{torch.cuda.get_device_name()}, {machine}"
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "engine": ENGINE_VERSION,
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit, with a + where the code differs from it."""
    commands = (
        ["git", "rev-parse", "--short=10", "HEAD"],
        ["git", "status", "--porcelain", "--", "app", "workers", "benchmarks"],
    )
    try:
        name, changed = (
            subprocess.run(one, capture_output=True, text=True, check=True).stdout.strip()
            for one in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + ("+" if changed else "")
