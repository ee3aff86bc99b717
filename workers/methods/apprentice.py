"""Mishra and Marr 2017, "Apprentice: using knowledge distillation techniques to improve
low-precision network accuracy", 1711.05852."""

from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from app.spec.methods import Apprentice
from app.spec.schedules import value_at
from workers.engine.bench import Bench, Targets
from workers.engine.losses import hard_loss, kl_divergence, log_soften, log_soften_ensemble
from workers.engine.quantize import calibrate, delivered, through_rounding
from workers.engine.stages import Batch, Clock, Made, Objective, Plan, Stage, Terms, Turn
from workers.engine.transfer import Transfer
from workers.methods.cohort import Cohort, cohort_stage
from workers.methods.observe import accuracy
from workers.methods.registry import plan
from workers.networks.preprocess import Preprocessed


@plan.register
def apprentice(method: Apprentice, bench: Bench) -> Plan:
    """One stage beside a teacher that trains (a) or has trained (b); or one at full precision and
    one, from there, through rounding (c)."""
    student, transfer = bench.student(), bench.transfer()
    if method.scheme == "a":
        return (yield joint(method, bench, through_rounding(student, method.quantize), transfer))

    targets = bench.soft_targets(transfer) if method.gamma > 0 else None
    if method.scheme == "b":
        student = through_rounding(student, method.quantize)
        return (yield rounding(student, taught(method, bench, student, transfer, targets)))

    whole, tuning = method.stage_epochs(bench.training.epochs)
    stage = taught(method, bench, student, transfer, targets, name="full_precision")
    yield replace(stage, training=bench.training.shortened(whole))
    tuned = through_rounding(student, method.quantize)
    calibrate(tuned, transfer.inputs)
    group = {"params": list(tuned.parameters()), "scale": method.fine_tune_lr_scale}
    stage = replace(
        rounding(tuned, taught(method, bench, tuned, transfer, targets)),
        index=1,
        training=bench.training.shortened(tuning),
        parameter_groups=lambda: [group],
    )
    return Made(cast(Preprocessed, (yield stage)), full_precision=student)


def rounding(student: Preprocessed, stage: Stage) -> Stage:
    """The stage, handing on the integers of a student that rounds."""
    return replace(stage, deliver=lambda _trainee: delivered(student))


def taught(
    method: Apprentice,
    bench: Bench,
    student: Preprocessed,
    transfer: Transfer,
    targets: Targets | None,
    *,
    name: str = "",
) -> Stage:
    """A stage beside trained teachers, at whatever precision the student has."""

    def objective(batch: Batch, clock: Clock) -> Terms:
        log_p = None
        if targets is not None:
            log_p = log_soften_ensemble(targets(batch), temperature_at(method, clock))
        return apprentice_terms(method, student(batch.inputs), log_p, batch.labels, clock)

    return bench.stage(student, objective, transfer, name=name, targets=targets)


def joint(method: Apprentice, bench: Bench, student: Preprocessed, transfer: Transfer) -> Stage:
    """Student and teacher side by side."""
    (network,) = method.peers_of(bench.job.student.network)
    trainee = Cohort([student, bench.peer(1, network)])
    objective = joint_objective(method, *trainee.networks)
    turn = Turn(list(trainee.parameters()), objective)
    return rounding(student, cohort_stage(bench, trainee, [turn], transfer))


def joint_objective(method: Apprentice, student: nn.Module, teacher: nn.Module) -> Objective:
    """Equation 1: the teacher's own term and the student's."""

    def objective(batch: Batch, clock: Clock) -> Terms:
        assert batch.labels is not None  # noqa: S101  (refused before the job was queued)
        z_t = teacher(batch.inputs)
        log_p = log_soften(z_t.detach(), temperature_at(method, clock))
        terms = apprentice_terms(method, student(batch.inputs), log_p, batch.labels, clock)
        own = hard_loss(z_t, batch.labels)
        return {**terms, "loss": terms["loss"] + method.alpha * own, "teacher_loss": own}

    return objective


def apprentice_terms(
    method: Apprentice, z_a: Tensor, log_p: Tensor | None, labels: Tensor | None, clock: Clock
) -> Terms:
    """beta CE(y, p_A) + gamma T^2 KL(p_T || p_A): the gradient is that of the paper's
    cross-entropy, and the teacher itself has 0. log p_T is N x C."""
    loss = z_a.new_zeros(())
    terms: Terms = {}
    if log_p is not None:
        at = temperature_at(method, clock)
        soft = kl_divergence(log_p, log_soften(z_a, at))
        loss = loss + method.gamma * at**2 * soft
        terms |= {"soft_loss": soft, "agreement": accuracy(z_a, log_p.argmax(dim=1))}
    if labels is not None:
        hard = hard_loss(z_a, labels)
        if method.beta > 0:
            loss = loss + method.beta * hard
        terms |= {"hard_loss": hard, "accuracy": accuracy(z_a, labels)}
    return {"loss": loss, **terms}


def temperature_at(method: Apprentice, clock: Clock) -> float:
    return value_at(method.temperature, clock.epoch, clock.epochs)
