"""A student whose last block is there several times over one trunk."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from app.spec.methods.structure import PAPER_RAMP
from workers.engine.bench import Bench
from workers.engine.branch_losses import ramp, taught_by
from workers.engine.evaluate import predict, validation_metrics
from workers.engine.losses import hard_loss, wide
from workers.engine.stages import Batch, Clock, Objective, Stage, Terms, mix
from workers.methods.observe import accuracy
from workers.networks import Net, build
from workers.networks.preprocess import Preprocessed


class Split(NamedTuple):
    """What a pass through all branches makes."""

    trunk: Tensor
    """N x C x H x W or N x C, as all branches read it."""
    features: list[Tensor]
    """Of each branch's last block, N x C x H x W or N x C."""
    logits: list[Tensor]
    """N x classes for each branch, the student's first, in at least float32."""


class Branched(nn.Module):
    """The student, further copies of what lies above its trunk, and a join of its method's own.

    The copies start from weights of their own: branches that are equal would stay equal.
    """

    def __init__(self, student: Preprocessed, others: Sequence[Net], join: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.others = nn.ModuleList(others)
        self.join = join

    @property
    def nets(self) -> list[Net]:
        """The branches, the student's whole network first."""
        return [
            module for module in (self.student.network, *self.others) if isinstance(module, Net)
        ]

    def split(self, inputs: Tensor) -> Split:
        """One pass of the trunk, and one of each branch."""
        trunk = self.student.network.run_trunk(self.student.normalise(inputs))
        features = [net.run_block(trunk) for net in self.nets]
        logits = [wide(net.run_head(one)) for net, one in zip(self.nets, features, strict=True)]
        return Split(trunk, features, logits)

    def forward(self, inputs: Tensor) -> Tensor:
        """N x 2 x classes: the student's logits and the ensemble's."""
        split = self.split(inputs)
        return torch.stack([split.logits[0], wide(self.join(split))], dim=1)

    def constrain(self) -> None:
        for net in self.nets:
            net.constrain()


def branched(bench: Bench, branches: int, make_join: Callable[[Split], nn.Module]) -> Branched:
    """The student with `branches - 1` more branches; `make_join` sees one example's pass."""
    student = bench.student()
    spec = bench.job.student.network
    others = []
    for k in range(1, branches):
        net = build(spec, seed=mix("weights", bench.seed, k))
        for name in spec.trunk:
            net.set_submodule(name, nn.Identity())
        others.append(net)
    trainee = Branched(student, others, nn.Identity()).to(bench.arithmetic.device)
    trainee.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        shapes = trainee.eval().split(bench.data.split("train").inputs[:1])
        torch.default_generator.manual_seed(mix("join", bench.seed))
        trainee.join = make_join(shapes).to(bench.arithmetic.device)
    return trainee.train()


def rise(ramp_epochs: float | None, clock: Clock) -> float:
    """The weight r of a distillation term, which grows over `ramp_epochs` or the papers' share."""
    whole = PAPER_RAMP * clock.epochs if ramp_epochs is None else ramp_epochs
    return ramp(clock.epoch, whole)


def objective_of(
    trainee: Branched, loss: Callable[[Sequence[Tensor], Tensor, Tensor, Clock], Tensor]
) -> Objective:
    """`loss(logits, ensemble, labels, clock)`, and what is logged beside it."""

    def objective(batch: Batch, clock: Clock) -> Terms:
        assert batch.labels is not None  # noqa: S101  (refused before the job was queued)
        split = trainee.split(batch.inputs)
        ensemble = wide(trainee.join(split))
        student = split.logits[0]
        return {
            "loss": loss(split.logits, ensemble, batch.labels, clock),
            "soft_loss": taught_by(ensemble, student, 1.0),
            "hard_loss": hard_loss(student, batch.labels),
            "ensemble_loss": hard_loss(ensemble, batch.labels),
            "accuracy": accuracy(student, batch.labels),
            "agreement": accuracy(student, ensemble.detach().argmax(dim=1)),
            "ensemble_accuracy": accuracy(ensemble, batch.labels),
        }

    return objective


def branched_stage(bench: Bench, trainee: Branched, objective: Objective) -> Stage:
    """One stage over the job's transfer set, which hands on the student alone."""
    stage = bench.stage(trainee.student, objective, bench.transfer())
    return replace(
        stage,
        trainee=trainee,
        after_step=lambda _clock: trainee.constrain(),
        evaluate=_evaluator(bench, trainee),
        deliver=lambda _trainee: trainee.student,
    )


def _evaluator(bench: Bench, trainee: Branched) -> Callable[[], dict[str, float]] | None:
    """The student's metrics on the validation split, and beside them the ensemble's accuracy."""
    if "validation" not in bench.data.names:
        return None
    examples = bench.data.split("validation")
    teacher_classes = bench.teacher_classes("validation")

    def evaluate() -> dict[str, float]:
        both = predict(trainee, examples.inputs, bench.arithmetic)
        metrics = validation_metrics(both[:, 0], examples.labels, teacher_classes)
        if examples.labels is not None:
            right = both[:, 1].argmax(dim=1) == examples.labels
            metrics["validation/ensemble_accuracy"] = float(right.float().mean())
        return metrics

    return evaluate
