"""Zheng and Yang 2024, "Knowledge distillation based on transformed teacher matching".

arXiv 2402.11148.
"""

from collections.abc import Sequence

from torch import Tensor

from app.spec.methods import WTTM
from app.spec.schedules import value_at
from workers.engine.bench import Bench
from workers.engine.logit_losses import transformed
from workers.engine.losses import log_soften, log_soften_ensemble
from workers.engine.stages import Clock, Plan, Terms
from workers.methods.observe import accuracy
from workers.methods.registry import plan
from workers.methods.taught import taught


@plan.register
def wttm(method: WTTM, bench: Bench) -> Plan:
    """w_h CE + beta U KL(p_T || q)."""

    def soft(
        logits: Tensor, teachers: Sequence[Tensor], _labels: Tensor | None, clock: Clock
    ) -> tuple[Tensor, Terms]:
        temperature = value_at(method.temperature, clock.epoch, clock.epochs)
        log_p = log_soften_ensemble(teachers, 1.0)
        loss = transformed(log_p, log_soften(logits, 1.0), temperature)
        agreement = accuracy(logits, log_p.argmax(dim=1))
        return method.beta * loss, {"soft_loss": loss, "agreement": agreement}

    return (yield from taught(bench, soft, hard_weight=method.hard_weight))
