"""A whole job, from its file to its artifacts: students first, then baselines, then the report."""

import json
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from app.spec.job import JobSpec, Select
from app.spec.jobfile import JobFile
from app.spec.methods import Method, Supervised
from workers.engine import checkpoint, loop
from workers.engine.bench import Bench, Waiting
from workers.engine.cache import content_key
from workers.engine.reporter import Reporter, Stopped, file_facts
from workers.engine.stages import Made, Stage
from workers.methods import whole_plan
from workers.networks.preprocess import Preprocessed
from workers.networks.store import load_network, save_network

ENGINE_VERSION = 4
"""Raised when the same job would train to other weights, so that no old baseline is reused."""


@dataclass
class Trained:
    """A student or a baseline, and how it came about."""

    seed: int
    network: Preprocessed
    best_epoch: int
    seconds: float
    ensemble: Sequence[Preprocessed] = ()
    """Trained on the way, and reported together beside the student."""
    full_precision: Preprocessed | None = None
    """The student before it was quantised."""


class Conductor:
    """Runs the stages of a job one after another; a resumed job skips those that are delivered."""

    def __init__(self, file: JobFile, run: loop.Run, bench: Bench, epochs: Sequence[int]) -> None:
        """`epochs` of every stage of the job, in order."""
        self.file, self.run, self.bench, self.epochs = file, run, bench, epochs
        self.number = 0
        self.offset = 0
        self.delivered = {entry.stage: entry.file for entry in file.deliverables}
        self.saved = checkpoint.load(file.checkpoint.file) if file.checkpoint else None
        self.last = loop.Outcome(0, None, 0.0)

    @property
    def job(self) -> JobSpec:
        return self.file.job

    def students(self) -> Iterator[Trained]:
        """The distilled students, one a seed; the first one is *the* student."""
        for k, seed in enumerate(self.seeds):
            prefix = f"student/{k}" if k else ""
            yield self._train(whole_plan(self.bench.for_run(seed, prefix)), seed)

    def baselines(self) -> Iterator[Trained]:
        """The same students without the teacher; known ones come from the cache."""
        job = self.job.model_copy(
            update={
                "method": control(self.job),
                "teachers": (),
                "select": _without_teacher(self.job),
            }
        )
        bench = replace(self.bench, job=job, teachers=())
        for k, seed in enumerate(self.seeds):
            yield _Baselines(self, bench, seed, f"baseline/{k}").get()

    @property
    def seeds(self) -> Sequence[int]:
        first = self.job.training.seed
        count = self.job.baseline.seeds if self.job.baseline else 1
        return range(first, first + count)

    def _train(self, stages_: Generator[Stage, nn.Module, Made], seed: int) -> Trained:
        began = time.monotonic()
        delivered: nn.Module | None = None
        try:
            stage = next(stages_)
            while True:
                delivered = self._conduct(stage, seed)
                stage = stages_.send(delivered)
        except StopIteration as end:
            made: Made = end.value
            seconds = time.monotonic() - began
            beside = made.ensemble, made.full_precision
            return Trained(seed, made.student, self.last.best_epoch, seconds, *beside)

    def _conduct(self, stage: Stage, seed: int) -> nn.Module:
        before, after = self.done(self.number), self.done(self.number + 1)
        run = replace(self.run, seed=seed, before=before, share=after - before)
        if self.number in self.delivered:
            self.last = _load_deliverable(stage.trainee, self.delivered[self.number])
        else:
            resume = self.saved if self.saved and self.saved.stage == self.number else None
            self.last = loop.train(
                stage,
                run,
                number=self.number,
                offset=self.offset,
                total_steps=self.total_steps(stage),
                resume=resume,
                keep_last=self.number + 1 == len(self.job.stage_epochs),
            )
            self._deliver(stage)
        self.number += 1
        self.offset += stage.steps
        return stage.deliver(stage.trainee)

    def done(self, number: int) -> float:
        """The share of the job's epochs that its first `number` stages have."""
        return sum(self.epochs[:number]) / sum(self.epochs)

    def total_steps(self, stage: Stage) -> int:
        """Steps of the whole job, taking epochs to come to be as long as this stage's."""
        per_epoch = stage.steps // stage.training.epochs
        return self.offset + stage.steps + per_epoch * sum(self.epochs[self.number + 1 :])

    def skip(self, steps_per_epoch: int, epochs: Sequence[int]) -> None:
        """Counts stages of so many epochs, whose result was known already."""
        self.number += len(epochs)
        self.offset += steps_per_epoch * sum(epochs)
        total = self.offset + steps_per_epoch * sum(self.epochs[self.number :])
        self.run.reporter.send(
            "progress",
            stage=self.number,
            stages=self.run.stages,
            epoch=float(epochs[-1]),
            epochs=epochs[-1],
            step=self.offset,
            steps=total,
            fraction=round(self.done(self.number), 6),
            samples_per_s=0.0,
            eta_s=None,
        )

    def _deliver(self, stage: Stage) -> None:
        path = self.run.out / f"stage-{self.number}.safetensors"
        _save_deliverable(stage.trainee, path, self.last)
        self.run.reporter.send("deliverable", name=path.name, stage=self.number, **file_facts(path))


def planned_epochs(job: JobSpec, *, baseline: bool) -> tuple[int, ...]:
    """Epochs of every stage of a job, students' before baselines': progress needs it."""
    seeds = job.baseline.seeds if job.baseline else 1
    controls = control(job).stage_epochs(job.training.epochs) if baseline else ()
    return seeds * job.stage_epochs + seeds * controls


def control(job: JobSpec) -> Method:
    """The method that trains the matched baseline."""
    return job.method.control or Supervised()


def wants_baseline(job: JobSpec, *, labelled: bool) -> tuple[bool, str | None]:
    """Whether a matched baseline is trained, and if not, why."""
    if job.baseline is None:
        return False, "the job asked for none"
    if not job.method.compared:
        return False, "its method learns from the labels alone, so there is nothing to compare with"
    if not labelled:
        return False, "the data set has no labels to train a baseline on"
    return True, None


class _Baselines:
    """One baseline, known by all that determines it, so that later jobs need not train it."""

    def __init__(self, conductor: Conductor, bench: Bench, seed: int, prefix: str) -> None:
        self.conductor, self.seed, self.prefix = conductor, seed, prefix
        self.points: list[Any] = []
        self.bench = replace(bench.for_run(seed, prefix), reporter=bench.reporter)
        job = bench.job
        self.key = content_key(
            engine=ENGINE_VERSION,
            torch=torch.__version__,
            student=job.student.network.model_dump(mode="json"),
            quantize=job.student.quantize and job.student.quantize.model_dump(mode="json"),
            method=job.method.model_dump(mode="json"),
            weights=bench.student_file and file_facts(bench.student_file)["sha256"],
            data=bench.data_sha256,
            preprocess=bench.preprocess,
            training=job.training.model_dump(mode="json"),
            transfer=job.transfer.model_dump(mode="json", exclude={"bias_repair"}),
            select=bench.select.model_dump(mode="json"),
            device=bench.arithmetic.device.type,
            precision=bench.arithmetic.precision,
            threads=torch.get_num_threads(),
            seed=seed,
        )

    def get(self) -> Trained:
        """From the cache, else trained; where another job trains it just now, once it has."""
        waiting = Waiting(self.bench.reporter, "training (another job trains the same baseline)")
        with self.bench.cache.turn("baselines", self.key, waiting) as path:
            return self.train() if path is None else self.recall(path)

    def recall(self, path: Path) -> Trained:
        """The cached baseline, its curves sent again under this job's steps."""
        network = load_network(self.bench.job.student.network, path)
        student = self.bench.place(Preprocessed(network, **self.bench.preprocess))
        with safe_open(path, framework="pt") as file:
            outcome = loop.Outcome(**json.loads(file.metadata()["outcome"]))
            points = json.loads(file.metadata()["points"])
        offset = self.conductor.offset
        for start in range(0, len(points), 5000):
            self.bench.reporter.send(
                "metrics",
                points=[
                    (f"{self.prefix}/{key}", offset + step, epoch, at, value)
                    for key, step, epoch, at, value in points[start : start + 5000]
                ],
            )
        job = self.bench.job
        per_epoch = self.bench.transfer().steps_per_epoch(job.training.batch_size)
        self.conductor.skip(per_epoch, job.stage_epochs)
        return Trained(self.seed, student, outcome.best_epoch, outcome.seconds)

    def train(self) -> Trained:
        """Trains it and keeps it, unless it was resumed halfway (its curves are not all here)."""
        conductor, offset = self.conductor, self.conductor.offset
        whole = conductor.saved is None and conductor.number not in conductor.delivered
        outer = conductor.run
        conductor.run = replace(outer, reporter=_Recording(outer.reporter, self.points))
        try:
            trained = conductor._train(whole_plan(self.bench), self.seed)
        finally:
            conductor.run = outer
        if whole:
            cut = len(self.prefix) + 1
            points = [[key[cut:], step - offset, *rest] for key, step, *rest in self.points]
            self.bench.cache.put(
                "baselines",
                self.key,
                lambda part: save_network(
                    trained.network.network,
                    part,
                    {"outcome": _facts(conductor.last), "points": json.dumps(points)},
                ),
            )
        return trained


class _Recording:
    """Passes events on and keeps the metrics."""

    def __init__(self, reporter: Reporter, points: list[Any]) -> None:
        self.reporter, self.points = reporter, points

    @property
    def stopping(self) -> bool:
        return self.reporter.stopping

    def send(self, event: str, **fields: Any) -> None:
        if event == "metrics":
            self.points.extend(fields["points"])
        self.reporter.send(event, **fields)


def _without_teacher(job: JobSpec) -> Select | None:
    """A baseline cannot be selected by agreement with a teacher it does not have."""
    if job.select is not None and job.select.metric == "validation/agreement":
        return Select()
    return job.select


def _save_deliverable(trainee: nn.Module, path: Path, outcome: loop.Outcome) -> None:
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in trainee.state_dict().items()
    }
    save_file(tensors, path, metadata={"outcome": _facts(outcome)})


def _facts(outcome: loop.Outcome) -> str:
    return json.dumps(vars(outcome))


def _load_deliverable(trainee: nn.Module, path: Path) -> loop.Outcome:
    with safe_open(path, framework="pt") as file:
        trainee.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        return loop.Outcome(**json.loads(file.metadata()["outcome"]))


__all__ = ["Conductor", "Stopped", "Trained", "planned_epochs", "wants_baseline"]
