"""Conducts runs: each from its folder, through the engine, to a line of results."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.spec.job import JobSpec
from app.spec.jobfile import JobFile, TeacherFile
from benchmarks.reproduce import datasets
from benchmarks.reproduce.journal import Journal
from benchmarks.reproduce.records import here
from benchmarks.reproduce.runs import Book, Run
from workers.engine.cache import Cache
from workers.engine.conduct import ENGINE_VERSION
from workers.engine.job import run_job
from workers.engine.reporter import Stopped

CACHE_BYTES = 20 * 1024**3
COMMAND = "python -m benchmarks.reproduce"


@dataclass
class Conductor:
    """Runs a book's runs under one folder."""

    book: Book
    home: Path
    ends: Callable[[], bool]
    tell: Callable[[str], None]
    device: str = "auto"
    threads: int | None = None

    def folder(self, name: str) -> Path:
        """Where a run's artifacts lie."""
        return self.home / "runs" / self.book.key(name)

    def finished(self, name: str) -> bool:
        return (self.folder(name) / "result.json").exists()

    def begun(self, name: str) -> bool:
        return (self.folder(name) / "state.json").exists()

    def result(self, name: str) -> dict[str, Any]:
        """What a finished run came to."""
        found: dict[str, Any] = json.loads((self.folder(name) / "result.json").read_text())
        return found

    def run(self, run: Run) -> dict[str, Any]:
        """Trains, unless it is done already. Raises Stopped when the sitting ends before it."""
        if self.finished(run.name):
            return self.result(run.name)
        out = self.folder(run.name)
        if begun_by(out) not in (None, ENGINE_VERSION):  # another engine trains to other weights
            shutil.rmtree(out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "engine").write_text(str(ENGINE_VERSION))
        journal = Journal(out, self.ends, lambda line: self.tell(f"  {run.name}: {line}"))
        file = journal.resume(self.job_file(run))
        (out / "job.json").write_text(file.model_dump_json(indent=1))
        dataset = datasets.prepared(run.data, self.home)
        try:
            run_job(file, dataset, out, Cache(self.home / "cache", CACHE_BYTES), journal)
        finally:
            journal.close()
        found = summary(file, json.loads((out / "report.json").read_text()), journal)
        found |= {"data_sha256": dataset.facts.sha256, **here(found["device"])}
        found = {"key": self.book.key(run.name), "command": f"{COMMAND} --run {run.name}", **found}
        journal.forget()
        part = out / "result.part"
        part.write_text(json.dumps(found))
        part.replace(out / "result.json")
        return found

    def job_file(self, run: Run) -> JobFile:
        """The job file that `python -m workers.runner` would take."""
        ids = {f"tch_{number}": teacher for number, teacher in enumerate(run.teachers)}
        body = {**run.job, "name": run.name, "teachers": list(ids), "dataset": "dst_0"}
        teachers = {
            identity: TeacherFile.model_validate(
                {
                    "network": self.book.runs[name].job["student"]["network"],
                    "file": str(self.folder(name) / "student.safetensors"),
                }
            )
            for identity, name in ids.items()
        }
        return JobFile(
            job=JobSpec.model_validate_json(json.dumps(body)),
            teachers=teachers,
            datasets={"dst_0": datasets.prepared(run.data, self.home)},
            device=self.device,
            threads=self.threads,
        )


def begun_by(folder: Path) -> int | None:
    """The version of the engine that began a run."""
    path = folder / "engine"
    return int(path.read_text()) if path.exists() else None


def summary(file: JobFile, report: dict[str, Any], journal: Journal) -> dict[str, Any]:
    """What the tables need of a finished run."""
    student, teacher, change = report["student"], report["teacher"], report["difference"]
    curve = journal.curve("validation/accuracy")
    select = file.job.select
    last = select is not None and select.metric == "last"
    found = {
        "errors": student["errors"],
        "examples": student["examples"],
        "teacher_errors": teacher and teacher["errors"],
        "ensemble_errors": report.get("ensemble") and report["ensemble"]["errors"],
        "validation_accuracy": (curve[-1] if last else max(curve)) if curve else None,
        "parameters": student["parameters"],
        "epochs": file.job.training.epochs,
        "best_epoch": student["best_epoch"],
        "seed": file.job.training.seed,
        "verdict": report["verdict"],
        "difference": change and {k: v for k, v in change.items() if k != "seeds"},
        "seeds": change
        and [[row["student_accuracy"], row["baseline_accuracy"]] for row in change["seeds"]],
        "bias_repair": report["bias_repair"],
        "seconds": round(journal.state["seconds"], 1),
        **journal.state["resolved"],
    }
    return {name: value for name, value in found.items() if value is not None}


__all__ = ["Conductor", "Stopped"]
