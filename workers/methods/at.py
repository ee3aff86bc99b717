"""Zagoruyko and Komodakis 2017, "Paying more attention to attention", 1612.03928."""

import torch
from torch import Tensor

from app.spec.methods import AT
from workers.engine.bench import Bench
from workers.engine.feature_losses import attention_loss
from workers.engine.stages import Plan, Terms
from workers.engine.taps import Features
from workers.methods.featured import joined
from workers.methods.registry import plan


@plan.register
def at(method: AT, bench: Bench) -> Plan:
    """One stage: CE + beta sum over layers of mean (Q_s - Q_t)^2."""

    def term(theirs: Features, own: Features, *_: object) -> tuple[Tensor, Terms]:
        pairs = zip(theirs, own, strict=True)
        loss = torch.stack([attention_loss(t, s) for t, s in pairs]).sum()
        return method.beta * loss, {"attention_loss": loss}

    student = bench.student()
    return (yield joined(bench, student, bench.transfer(), method, term))
