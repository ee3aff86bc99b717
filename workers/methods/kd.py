"""Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", 1503.02531."""

from torch import Tensor

from app.spec.methods import KD
from app.spec.schedules import value_at
from workers.engine.bench import Bench
from workers.engine.logit_losses import standardise
from workers.engine.losses import hard_loss, kl_divergence, log_soften, log_soften_ensemble
from workers.engine.stages import Batch, Clock, Plan, Terms
from workers.methods.observe import accuracy
from workers.methods.registry import plan


@plan.register
def kd(method: KD, bench: Bench) -> Plan:
    """One stage: w_s T^2 KL(p_T || q_T) + w_h CE. p_T is the mean of the teachers' softmax at T."""
    student = bench.student()
    transfer = bench.transfer()
    targets = bench.soft_targets(transfer)

    def scaled(logits: Tensor) -> Tensor:
        return standardise(logits) if method.standardise else logits

    def objective(batch: Batch, clock: Clock) -> Terms:
        temperature = value_at(method.temperature, clock.epoch, clock.epochs)
        soft_weight, hard_weight = weights(method, clock)
        log_p = log_soften_ensemble([scaled(z_t) for z_t in targets(batch)], temperature)

        logits = student(batch.inputs)
        soft = kl_divergence(log_p, log_soften(scaled(logits), temperature))
        loss = soft_weight * temperature**2 * soft
        terms = {"soft_loss": soft, "agreement": accuracy(logits, log_p.argmax(dim=1))}
        if batch.labels is not None:
            hard = hard_loss(logits, batch.labels)
            if hard_weight > 0:
                loss = loss + hard_weight * hard
            terms |= {"hard_loss": hard, "accuracy": accuracy(logits, batch.labels)}
        return {"loss": loss, **terms}

    return (yield bench.stage(student, objective, transfer, targets=targets))


def weights(method: KD, clock: Clock) -> tuple[float, float]:
    """(w_s, w_h): as given, or alpha and 1 - alpha."""
    alpha = value_at(method.alpha, clock.epoch, clock.epochs)
    soft = alpha if method.soft_weight is None else method.soft_weight
    hard = 1 - alpha if method.hard_weight is None else method.hard_weight
    return soft, hard
