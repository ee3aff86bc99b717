"""Ba and Caruana 2014, "Do deep nets really need to be deep?", 1312.6184."""

import torch

from app.spec.methods import Logits
from app.spec.schedules import value_at
from workers.engine.bench import Bench
from workers.engine.losses import hard_loss, logit_matching
from workers.engine.stages import Batch, Clock, Plan, Terms
from workers.methods.observe import accuracy
from workers.methods.registry import plan


@plan.register
def logits(method: Logits, bench: Bench) -> Plan:
    """One stage: half the squared distance of zero-meaned logits, and the labels if wanted."""
    student = bench.student()
    transfer = bench.transfer()
    targets = bench.soft_targets(transfer)

    def objective(batch: Batch, clock: Clock) -> Terms:
        alpha = value_at(method.alpha, clock.epoch, clock.epochs)
        z_t = torch.stack(targets(batch)).mean(dim=0)

        z_s = student(batch.inputs)
        soft = logit_matching(z_s, z_t)
        loss = alpha * soft
        terms = {"soft_loss": soft, "agreement": accuracy(z_s, z_t.argmax(dim=1))}
        if batch.labels is not None:
            hard = hard_loss(z_s, batch.labels)
            if alpha < 1:
                loss = loss + (1 - alpha) * hard
            terms |= {"hard_loss": hard, "accuracy": accuracy(z_s, batch.labels)}
        return {"loss": loss, **terms}

    return (yield bench.stage(student, objective, transfer, targets=targets))
