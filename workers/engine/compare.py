"""What a job's student is compared with: the matched baseline, and controls that each lack a part
of what a teacher gives."""

import copy
import json
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from app.spec.controls import CWTM, Control, LabelSmoothing, Permuted, RandomTeacher
from app.spec.job import JobSpec, Select
from app.spec.methods import BornAgain, Method, Supervised
from workers.disk import disk_full
from workers.engine import loop
from workers.engine.bench import Bench, Waiting
from workers.engine.cache import content_key
from workers.engine.conduct import ENGINE_VERSION, Conductor, Trained, facts_of
from workers.engine.reporter import Reporter, Stopped, file_facts
from workers.engine.soft_targets import Teacher
from workers.engine.stages import mix
from workers.networks import Net, build
from workers.networks.preprocess import Preprocessed
from workers.networks.store import CheckpointError, load_network, save_network


@dataclass
class Compared:
    """A run a seed of the baseline and of each control, as far as they came to something."""

    baselines: list[Trained] = field(default_factory=list)
    why_not: str | None = None
    """Why there is no baseline."""
    controls: dict[str, list[Trained]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Controls that came to nothing, and why."""


def wants_baseline(job: JobSpec, *, labelled: bool) -> tuple[bool, str | None]:
    """Whether a matched baseline is trained, and if not, why."""
    if job.baseline is None:
        return False, "the job asked for none"
    if not job.method.compared:
        return False, "its method learns from the labels alone, so there is nothing to compare with"
    if not labelled:
        return False, "the data set has no labels to train a baseline on"
    return True, None


def compare(conductor: Conductor, trained: Callable[[Trained], object]) -> Compared:
    """Trains the baselines, then the controls; `trained` is called with each run.

    One that fails never fails the job: the report says so. But none is lost to a full disk, which
    raises, as Stopped does: the attempt is repeated.
    """
    job, compared = conductor.job, Compared()

    def attempt(runs: Iterator[Trained], stages: int) -> list[Trained] | str:
        end = conductor.number + stages
        done = []
        try:
            for run in runs:
                trained(run)
                done.append(run)
        except Stopped:
            raise
        except Exception as error:
            if disk_full(error):
                raise
            traceback.print_exc()
            conductor.skip(end - conductor.number)
            return f"training it failed: {error}"
        return done

    seeds = len(conductor.seeds)
    plain = len(job.baseline_method.stage_epochs(job.training.epochs))
    runs = attempt(_baselines(conductor), seeds * plain)
    if isinstance(runs, str):
        compared.why_not = runs
    else:
        compared.baselines = runs
    for control in job.controls:
        stages = seeds * len(control.stage_epochs(job.method, job.training.epochs))
        if not compared.baselines:
            compared.failed[control.name] = "without a baseline there is no gain to divide"
            conductor.skip(stages)
            continue
        runs = attempt(_controls(conductor, control), stages)
        if isinstance(runs, str):
            compared.failed[control.name] = runs
        else:
            compared.controls[control.name] = runs
    return compared


def _baselines(conductor: Conductor) -> Iterator[Trained]:
    """The same students without the teacher."""
    for k, seed in enumerate(conductor.seeds):
        bench = conductor.bench.for_run(seed, f"baseline/{k}")
        yield Matched(conductor, untaught(bench, conductor.job.baseline_method)).run()


def _controls(conductor: Conductor, control: Control) -> Iterator[Trained]:
    for k, seed in enumerate(conductor.seeds):
        bench = conductor.bench.for_run(seed, f"control/{control.name}/{k}")
        yield Matched(conductor, arranged(control, bench)).run()


def arranged(control: Control, bench: Bench) -> Bench:
    """The bench on which a control's run is trained."""
    keep = replace(bench.keep, run=f"{bench.prefix.replace('/', '-')}-")
    bench = replace(bench, keep=keep)
    match control:
        case LabelSmoothing(smoothing=smoothing):
            return untaught(bench, Supervised(label_smoothing=smoothing))
        case CWTM():
            return replace(bench, job=_with(bench.job, BornAgain(generations=1, treatment="cwtm")))
        case Permuted():
            return replace(bench, permuted=True)
        case RandomTeacher():
            teachers = [_fresh(bench, teacher, k) for k, teacher in enumerate(bench.teachers)]
            job = bench.job.model_copy(update={"select": _without_teacher(bench.job)})
            return replace(bench, job=job, teachers=teachers)
    raise TypeError(f"no bench is arranged for {type(control).__name__}")


def untaught(bench: Bench, method: Method) -> Bench:
    """The bench without its teachers."""
    job = _with(bench.job, method, teachers=(), select=_without_teacher(bench.job))
    return replace(bench, job=job, teachers=())


def _with(job: JobSpec, method: Method, **fields: Any) -> JobSpec:
    return job.model_copy(update={"method": method, **fields})


def _without_teacher(job: JobSpec) -> Select | None:
    """What has no teacher, or none that knows anything, cannot be selected by agreeing with it."""
    if job.select is not None and job.select.metric == "validation/agreement":
        return Select()
    return job.select


def _fresh(bench: Bench, teacher: Teacher, number: int) -> Teacher:
    """The teacher's architecture and preprocessing with weights that know nothing."""
    network, spec = copy.deepcopy(teacher.network), teacher.network.network.spec
    seed = mix("weights", bench.seed, "random teacher", number)
    network.network = build(spec, seed=seed)
    bench.freeze(bench.place(network))
    identity = content_key(
        random=spec.model_dump(mode="json"),
        seed=seed,
        torch=torch.__version__,
        factor=network.factor.tolist(),
        shift=network.shift.tolist(),
    )
    return Teacher(network, identity)


class Matched:
    """One run beside the student's, known by all that determines it, so that later jobs need not
    train it."""

    def __init__(self, conductor: Conductor, bench: Bench) -> None:
        self.conductor, self.bench = conductor, bench
        self.points: list[Any] = []
        job = bench.job
        taught: dict[str, Any] = {}
        if bench.teachers or bench.permuted:
            identities = [teacher.identity for teacher in bench.teachers]
            taught = {"teachers": identities, "permuted": bench.permuted}
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
            seed=bench.seed,
            **taught,
        )

    def run(self) -> Trained:
        """From the cache, else trained; where another job trains it just now, once it has."""
        waiting = Waiting(self.bench.reporter, "training (another job trains the same)")
        with self.bench.cache.turn("baselines", self.key, waiting) as path:
            known = None if path is None else self.read(path)
            return self.train() if known is None else self.recall(*known)

    def read(self, path: Path) -> tuple[Net, dict[str, str]] | None:
        """The cached network and its facts; None where the file is damaged or gone."""
        try:
            network = load_network(self.bench.job.student.network, path)
            with safe_open(path, framework="pt") as file:
                return network, file.metadata()
        except (OSError, SafetensorError, CheckpointError) as error:
            print(f"a baseline is trained anew: {error}", flush=True)  # noqa: T201  (the job's log)
            return None

    def recall(self, network: Net, facts: dict[str, str]) -> Trained:
        """The cached run, its curves sent again under this job's steps."""
        bench, job, offset = self.bench, self.bench.job, self.conductor.offset
        student = bench.place(Preprocessed(network, **bench.preprocess))
        outcome, points = loop.Outcome(**json.loads(facts["outcome"])), json.loads(facts["points"])
        for start in range(0, len(points), 5000):
            bench.reporter.send(
                "metrics",
                points=[
                    (f"{bench.prefix}/{key}", offset + step, epoch, at, value)
                    for key, step, epoch, at, value in points[start : start + 5000]
                ],
            )
        epochs = job.stage_epochs
        per_epoch = job.training.steps_per_epoch(len(bench.transfer()))
        # An earlier version kept baselines alone, whose stages are all over the same examples.
        steps = int(facts.get("steps", per_epoch * sum(epochs)))
        self.conductor.skip(len(epochs), steps)
        seconds = float(facts.get("seconds", outcome.seconds))  # earlier: the last stage's alone
        return Trained(bench.seed, student, outcome.best_epoch, seconds)

    def train(self) -> Trained:
        """Trains it and keeps it, unless it was resumed halfway (its curves are not all here)."""
        conductor, offset = self.conductor, self.conductor.offset
        whole = conductor.saved is None and conductor.number not in conductor.delivered
        outer = conductor.run
        conductor.run = replace(outer, reporter=_Recording(outer.reporter, self.points))
        try:
            trained = conductor.train(self.bench)
        finally:
            conductor.run = outer
        if whole:
            cut = len(self.bench.prefix) + 1
            points = [[key[cut:], step - offset, *rest] for key, step, *rest in self.points]
            facts = {
                "outcome": facts_of(conductor.last),
                "points": json.dumps(points),
                "steps": str(conductor.offset - offset),
                "seconds": str(trained.seconds),
            }
            self.bench.cache.put(
                "baselines",
                self.key,
                lambda part: save_network(trained.network.network, part, facts),
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
