"""Zhao et al. 2022, "Decoupled knowledge distillation", 2203.08679."""

from collections.abc import Sequence

from torch import Tensor

from app.spec.methods import DKD
from app.spec.schedules import value_at
from workers.engine.bench import Bench
from workers.engine.logit_losses import decoupled
from workers.engine.losses import log_soften, log_soften_ensemble
from workers.engine.stages import Clock, Plan, Terms
from workers.methods.observe import accuracy
from workers.methods.registry import plan
from workers.methods.taught import taught


@plan.register
def dkd(method: DKD, bench: Bench) -> Plan:
    """CE + min(epoch / warmup, 1) T^2 (alpha TCKD + beta NCKD)."""

    def soft(
        logits: Tensor, teachers: Sequence[Tensor], labels: Tensor | None, clock: Clock
    ) -> tuple[Tensor, Terms]:
        assert labels is not None  # noqa: S101  (refused before the job was queued)
        temperature = value_at(method.temperature, clock.epoch, clock.epochs)
        log_p = log_soften_ensemble(teachers, temperature)
        target, others = decoupled(log_p, log_soften(logits, temperature), labels)
        loss = method.alpha * target + method.beta * others
        terms = {
            "soft_loss": loss,
            "target_loss": target,
            "nontarget_loss": others,
            "agreement": accuracy(logits, log_p.argmax(dim=1)),
        }
        return warm_up(method, clock) * temperature**2 * loss, terms

    return (yield from taught(bench, soft))


def warm_up(method: DKD, clock: Clock) -> float:
    """w(t): from 0 to 1 over the warm-up."""
    return min(clock.epoch / method.warmup_epochs, 1.0) if method.warmup_epochs else 1.0
