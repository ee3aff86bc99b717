"""Huang et al. 2022, "Knowledge distillation from a stronger teacher", 2205.10536."""

from collections.abc import Sequence

from torch import Tensor

from app.spec.methods import DIST
from app.spec.schedules import value_at
from workers.engine.bench import Bench
from workers.engine.logit_losses import correlation_losses
from workers.engine.losses import log_soften_ensemble, soften
from workers.engine.stages import Clock, Plan, Terms
from workers.methods.observe import accuracy
from workers.methods.registry import plan
from workers.methods.taught import taught


@plan.register
def dist(method: DIST, bench: Bench) -> Plan:
    """w_h CE + T^2 (beta inter + gamma intra)."""

    def soft(
        logits: Tensor, teachers: Sequence[Tensor], _labels: Tensor | None, clock: Clock
    ) -> tuple[Tensor, Terms]:
        temperature = value_at(method.temperature, clock.epoch, clock.epochs)
        p = log_soften_ensemble(teachers, temperature).exp()
        inter, intra = correlation_losses(p, soften(logits, temperature))
        loss = method.beta * inter + method.gamma * intra
        terms = {
            "soft_loss": loss,
            "inter_loss": inter,
            "intra_loss": intra,
            "agreement": accuracy(logits, p.argmax(dim=1)),
        }
        return temperature**2 * loss, terms

    return (yield from taught(bench, soft, hard_weight=method.hard_weight))
