"""Yang et al. 2023, "From knowledge distillation to self-knowledge distillation", 2303.13005."""

from collections.abc import Sequence

from torch import Tensor

from app.spec.methods import NKD
from app.spec.schedules import value_at
from workers.engine.bench import Bench
from workers.engine.logit_losses import normalised
from workers.engine.losses import log_soften, log_soften_ensemble
from workers.engine.stages import Clock, Plan, Terms
from workers.methods.observe import accuracy
from workers.methods.registry import plan
from workers.methods.taught import taught


@plan.register
def nkd(method: NKD, bench: Bench) -> Plan:
    """CE + target term + gamma T^2 non-target term."""

    def soft(
        logits: Tensor, teachers: Sequence[Tensor], labels: Tensor | None, clock: Clock
    ) -> tuple[Tensor, Terms]:
        assert labels is not None  # noqa: S101  (refused before the job was queued)
        temperature = value_at(method.temperature, clock.epoch, clock.epochs)
        log_p = log_soften_ensemble(teachers, 1.0)
        target, others = normalised(log_p, log_soften(logits, 1.0), labels, temperature)
        loss = target + method.gamma * temperature**2 * others
        terms = {
            "soft_loss": loss,
            "target_loss": target,
            "nontarget_loss": others,
            "agreement": accuracy(logits, log_p.argmax(dim=1)),
        }
        return loss, terms

    return (yield from taught(bench, soft))
