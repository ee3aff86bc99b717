"""Romero et al. 2015, "FitNets: hints for thin deep nets", 1412.6550."""

import torch
from torch import Tensor, nn

from app.spec.methods import FitNets
from app.spec.schedules import value_at
from app.spec.shapes import Shape
from workers.engine.bench import Bench
from workers.engine.feature_losses import hint_error, hint_loss
from workers.engine.losses import hard_loss, kl_divergence, log_soften
from workers.engine.stages import Batch, Clock, Plan, Terms, mix
from workers.engine.taps import Features
from workers.methods.featured import featured, owned_by
from workers.methods.hints import hint_stage, task_stage
from workers.methods.observe import accuracy
from workers.methods.registry import plan
from workers.networks import seeded
from workers.networks.preprocess import Preprocessed


class Hinted(nn.Module):
    """The student, and the regressor that only training needs."""

    def __init__(self, student: Preprocessed, regressor: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.regressor = regressor


def make_regressor(hint: Shape, guided: Shape, *, rectified: bool, normed: bool) -> nn.Module:
    """From the guided layer's shape to the hint's: a convolution without padding, whose kernel
    takes off what the guided map has too much (section 2.2 of the paper), or a linear layer."""
    if len(hint) == 1:
        layers: list[nn.Module] = [nn.Linear(guided[0], hint[0])]
        norm: nn.Module = nn.BatchNorm1d(hint[0])
    else:
        kernel = (guided[1] - hint[1] + 1, guided[2] - hint[2] + 1)
        layers = [nn.Conv2d(guided[0], hint[0], kernel)]
        norm = nn.BatchNorm2d(hint[0])
    layers += [norm] * normed + [nn.ReLU()] * rectified
    return nn.Sequential(*layers)


def hinted(method: FitNets, bench: Bench) -> Hinted:
    """A fresh student with a fresh regressor between its guided layer and the teacher's hint."""
    teacher, student = bench.teachers[0].network.network.spec, bench.job.student.network
    ((hint, guided),) = method.pairs(teacher, student)
    with seeded(mix("regressor", bench.seed)):
        regressor = make_regressor(
            teacher.taps[hint],
            student.taps[guided],
            rectified=teacher.rectified(hint),
            normed=method.one_stage,
        )
    regressor.to(bench.arithmetic.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Hinted(bench.student(), regressor)


@plan.register
def fitnets(method: FitNets, bench: Bench) -> Plan:
    """Hints up to the guided layer, then labels and softened outputs; or both at once."""
    trainee = hinted(method, bench)
    student, transfer = trainee.student, bench.transfer()

    if method.one_stage:

        def term(theirs: Features, own: Features, *_: object) -> tuple[Tensor, Terms]:
            error = hint_error(theirs[0], trainee.regressor(own[0]))
            return method.hint_weight * error, {"hint_loss": error}

        stage = featured(bench, student, transfer, method, term, temperature=method.temperature)
        return (yield owned_by(trainee, stage, student))

    yield hint_stage(
        bench,
        method,
        student,
        transfer,
        lambda theirs, own: hint_loss(theirs[0], trainee.regressor(own[0])),
        trainee=trainee,
    )
    targets = bench.soft_targets(transfer)

    def objective(batch: Batch, clock: Clock) -> Terms:
        assert batch.labels is not None  # noqa: S101  (refused before the job was queued)
        tau = value_at(method.temperature, clock.epoch, clock.epochs)
        (z_t,) = targets(batch)
        z_s = student(batch.inputs)
        hard = hard_loss(z_s, batch.labels)
        soft = kl_divergence(log_soften(z_t, tau), log_soften(z_s, tau))
        return {
            "loss": hard + value_at(method.soft_weight, clock.epoch, clock.epochs) * soft,
            "soft_loss": soft,
            "hard_loss": hard,
            "accuracy": accuracy(z_s, batch.labels),
            "agreement": accuracy(z_s, z_t.argmax(dim=1)),
        }

    stage = bench.stage(student, objective, transfer, targets=targets)
    return (yield task_stage(bench, method, stage))
