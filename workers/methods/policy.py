"""Rusu et al. 2016, "Policy distillation", 1511.06295."""

from collections.abc import Sequence

from torch import Tensor

from app.spec.methods import Policy
from workers.engine.bench import Bench
from workers.engine.losses import kl_divergence, log_soften
from workers.engine.stages import Clock, Plan, Terms
from workers.methods.observe import accuracy
from workers.methods.registry import plan
from workers.methods.taught import taught


@plan.register
def policy(method: Policy, bench: Bench) -> Plan:
    """KL(softmax(Q_t / T) || softmax(z_s)): the student's own actions at T = 1."""

    def soft(
        logits: Tensor, teachers: Sequence[Tensor], _labels: Tensor | None, _clock: Clock
    ) -> tuple[Tensor, Terms]:
        log_p = log_soften(teachers[0], method.temperature)
        loss = kl_divergence(log_p, log_soften(logits, 1.0))
        return loss, {"soft_loss": loss, "agreement": accuracy(logits, log_p.argmax(dim=1))}

    # A narrow pass rounds Q = 20 to eighths, which T = 0.01 makes a dozen nats.
    return (yield from taught(bench, soft, hard_weight=0.0, exact=True))
