"""The shape that methods on inner layers share: one stage, the labels, and a term on layers."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from app.spec.methods.features import Joined
from app.spec.methods.layers import FeatureMethod
from app.spec.schedules import Temperature, value_at
from workers.engine.bench import Bench
from workers.engine.losses import hard_loss, kl_divergence, log_soften
from workers.engine.stages import Batch, Clock, Stage, Terms
from workers.engine.taps import Features, LiveTeacher, tapped
from workers.engine.transfer import Transfer
from workers.methods.observe import accuracy
from workers.networks.preprocess import Preprocessed

Term = Callable[[Features, Features, Batch, Clock], tuple[Tensor, Terms]]
"""From the teacher's and the student's features to what is added to the loss, and what is logged
beside it."""


def layers(method: FeatureMethod, bench: Bench) -> tuple[LiveTeacher, list[str]]:
    """The teacher with its layers, and the names of the student's."""
    network = bench.teachers[0].network
    pairs = method.pairs(network.network.spec, bench.job.student.network)
    return LiveTeacher(network, [theirs for theirs, _ in pairs]), [own for _, own in pairs]


def featured(
    bench: Bench,
    student: Preprocessed,
    transfer: Transfer,
    method: FeatureMethod,
    term: Term,
    *,
    temperature: Temperature,
    hard_weight: float = 1.0,
    soft_weight: float = 0.0,
) -> Stage:
    """hard_weight cross_entropy(z_s, y) + soft_weight T^2 KL(p_T || q_T) + the term on layers."""
    teacher, names = layers(method, bench)

    def objective(batch: Batch, clock: Clock) -> Terms:
        z_t, theirs = teacher(batch)
        z_s, own = tapped(student, batch.inputs, names)
        loss, terms = term(theirs, own, batch, clock)
        t = value_at(temperature, clock.epoch, clock.epochs)
        soft = kl_divergence(log_soften(z_t, t), log_soften(z_s, t))
        if soft_weight > 0:
            loss = loss + soft_weight * t**2 * soft
        terms = {**terms, "soft_loss": soft, "agreement": accuracy(z_s, z_t.argmax(dim=1))}
        if batch.labels is not None:
            hard = hard_loss(z_s, batch.labels)
            if hard_weight > 0:
                loss = loss + hard_weight * hard
            terms |= {"hard_loss": hard, "accuracy": accuracy(z_s, batch.labels)}
        return {"loss": loss, **terms}

    return bench.stage(student, objective, transfer)


def joined(
    bench: Bench, student: Preprocessed, transfer: Transfer, method: Joined, term: Term
) -> Stage:
    """`featured` with the method's own weights."""
    return featured(
        bench,
        student,
        transfer,
        method,
        term,
        temperature=method.temperature,
        hard_weight=method.hard_weight,
        soft_weight=method.soft_weight,
    )


def owned_by(trainee: nn.Module, stage: Stage, student: Preprocessed) -> Stage:
    """The stage with a trainee that has more than the student, which it hands on."""
    return replace(stage, trainee=trainee, deliver=lambda _trainee: student)
