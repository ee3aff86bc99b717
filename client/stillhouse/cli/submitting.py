"""From a job file to a job."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from stillhouse import Job, Stillhouse, errors
from stillhouse.cli import output
from stillhouse.cli.jobfile import JobFile, parsed, put
from stillhouse.cli.localparts import Parts
from stillhouse.cli.mistakes import explained


def described(
    path: Path, changes: Mapping[str, str], name: str | None, labels: Mapping[str, str]
) -> JobFile:
    """A job file, and what the command line says besides."""
    file = JobFile.read(path)
    file.put({field: parsed(value) for field, value in changes.items()})
    if name is not None:
        file.document["name"] = name
    if labels:
        known = file.document.get("labels")
        file.document["labels"] = {**(known if isinstance(known, dict) else {}), **labels}
    return file


def submitted(still: Stillhouse, file: JobFile) -> Job:
    """Raises FileMistaken."""
    parts = Parts.of(file)
    parts.check(still)
    spec = parts.send(still)
    try:
        return still.jobs.create(**spec)
    except (errors.Unprocessable, errors.BadRequest) as problem:
        raise explained(still, file, problem, spec, "JobSpec") or problem from None


def dry_run(still: Stillhouse, file: JobFile, *, as_json: bool) -> None:
    """What the service says of it, without anything being made."""
    parts = Parts.of(file)
    parts.check(still)
    with ExitStack() as stack:
        parts.converted(stack)
    if parts.teachers or parts.dataset or parts.student:
        note = "The file is right as far as can be told before what it names here has been sent."
        if as_json:
            output.emit({"valid": True, "complete": False, "detail": note})
        else:
            output.console().print(note)
        return
    try:
        checked = still.jobs.validate(**file.document)
    except (errors.Unprocessable, errors.BadRequest) as problem:
        raise explained(still, file, problem, file.document, "JobSpec") or problem from None
    if as_json:
        output.emit(checked)
        return
    for warning in checked.warnings:
        output.aside().print(f"[yellow]warning[/] {warning.pointer}: {warning.detail}")
    output.fields(
        {
            "device": checked.device or "no worker is there to tell",
            "memory": output.size(checked.estimate.memory_bytes),
            "time": output.lasting(checked.estimate.seconds),
            "basis": checked.estimate.basis,
        }
    )


def nested(changes: Mapping[str, str]) -> dict[str, Any]:
    """`a.b=1` as an object in an object."""
    document: dict[str, Any] = {}
    put(document, {field: parsed(value) for field, value in changes.items()})
    return document
