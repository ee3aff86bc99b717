"""The stages of a job, one after another: what is delivered already is not trained again."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from app.spec.job import JobSpec
from app.spec.jobfile import JobFile
from workers.engine import checkpoint, loop
from workers.engine.bench import Bench
from workers.engine.reporter import file_facts
from workers.engine.stages import Made, Stage
from workers.methods import whole_plan
from workers.networks.preprocess import Preprocessed

ENGINE_VERSION = 5
"""Raised when the same job would train to other weights, so that no old baseline is reused."""


@dataclass
class Trained:
    """A student, a baseline or a control, and how it came about."""

    seed: int
    network: Preprocessed
    best_epoch: int
    seconds: float
    """Spent in all its stages, by every attempt that got on with them."""
    ensemble: Sequence[Preprocessed] = ()
    """Trained on the way, and reported together beside the student."""
    full_precision: Preprocessed | None = None
    """The student before it was quantised."""

    @property
    def beside(self) -> Sequence[Preprocessed]:
        """The networks that are reported beside the student, each once."""
        others = [*self.ensemble, *([self.full_precision] if self.full_precision else [])]
        return [network for network in others if network is not self.network]


class Conductor:
    """Runs the stages of a job one after another; a resumed job skips those that are delivered."""

    def __init__(self, file: JobFile, run: loop.Run, bench: Bench, epochs: Sequence[int]) -> None:
        """`epochs` of every stage of the job, in order."""
        self.file, self.run, self.bench, self.epochs = file, run, bench, epochs
        self.number = 0
        self.offset = 0
        self.reach = 0
        """The last step of the stage that was begun last."""
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
            yield self.train(self.bench.for_run(seed, prefix))

    @property
    def seeds(self) -> Sequence[int]:
        first = self.job.training.seed
        count = self.job.baseline.seeds if self.job.baseline else 1
        return range(first, first + count)

    def train(self, bench: Bench) -> Trained:
        """Runs the whole plan of the bench's own job, stage by stage."""
        seconds = 0.0
        stages = whole_plan(bench)
        try:
            stage = next(stages)
            while True:
                delivered = self._conduct(stage, bench.seed)
                seconds += self.last.seconds
                stage = stages.send(delivered)
        except StopIteration as end:
            made: Made = end.value
            beside = made.ensemble, made.full_precision
            return Trained(bench.seed, made.student, self.last.best_epoch, seconds, *beside)

    def _conduct(self, stage: Stage, seed: int) -> nn.Module:
        before, after = self.done(self.number), self.done(self.number + 1)
        run = replace(self.run, seed=seed, before=before, share=after - before)
        self.reach = self.offset + stage.steps
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

    def skip(self, stages: int, steps: int = 0) -> None:
        """Counts stages whose result was known already, or that came to nothing."""
        if stages == 0:
            return
        self.number += stages
        self.offset = max(self.offset + steps, self.reach)
        epochs = self.epochs[self.number - 1]
        per_epoch = self.offset / sum(self.epochs[: self.number])
        self.run.reporter.send(
            "progress",
            stage=self.number,
            stages=self.run.stages,
            epoch=float(epochs),
            epochs=epochs,
            step=self.offset,
            steps=self.offset + round(per_epoch * sum(self.epochs[self.number :])),
            fraction=round(self.done(self.number), 6),
            samples_per_s=0.0,
            eta_s=None,
        )

    def _deliver(self, stage: Stage) -> None:
        path = self.run.out / f"stage-{self.number}.safetensors"
        _save_deliverable(stage.trainee, path, self.last)
        self.run.reporter.send("deliverable", name=path.name, stage=self.number, **file_facts(path))


def _save_deliverable(trainee: nn.Module, path: Path, outcome: loop.Outcome) -> None:
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in trainee.state_dict().items()
    }
    save_file(tensors, path, metadata={"outcome": facts_of(outcome)})


def facts_of(outcome: loop.Outcome) -> str:
    return json.dumps(vars(outcome))


def _load_deliverable(trainee: nn.Module, path: Path) -> loop.Outcome:
    with safe_open(path, framework="pt") as file:
        trainee.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        return loop.Outcome(**json.loads(file.metadata()["outcome"]))
