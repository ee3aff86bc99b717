"""Losses of branches that teach each other, as pure functions of logits.

Shapes: N examples, C classes, m branches. Gradients never flow through what is taught.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from workers.engine.losses import hard_loss, kl_divergence, log_soften


def ramp(epoch: float, epochs: float) -> float:
    """exp(-5 (1 - min(e, R) / R)^2): from 0.0067 at the start to 1 after R epochs."""
    if epochs <= 0:
        return 1.0
    return math.exp(-5 * (1 - min(epoch, epochs) / epochs) ** 2)


def gated(logits: Sequence[Tensor], gate_Nm: Tensor) -> Tensor:
    """z_e = sum over i of g_i z_i, N x C (Lan, Zhu and Gong 2018, equation 5)."""
    return (torch.stack(list(logits), dim=1) * gate_Nm.unsqueeze(2)).sum(dim=1)


def mean_logits(logits: Sequence[Tensor]) -> Tensor:
    """The branches' mean logits, N x C."""
    return torch.stack(list(logits)).mean(dim=0)


def taught_by(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """KL(softmax(sg z_t / T) || softmax(z_s / T)): the teacher gets no gradient."""
    return kl_divergence(
        log_soften(teacher.detach(), temperature), log_soften(student, temperature)
    )


def one_loss(
    logits: Sequence[Tensor], ensemble: Tensor, labels: Tensor, *, temperature: float, rise: float
) -> Tensor:
    """sum CE(z_i, y) + CE(z_e, y) + r T^2 sum KL(sg z_e || z_i) (Lan, Zhu and Gong 2018, eq. 8)."""
    hard = hard_loss(ensemble, labels) + _sum(hard_loss(z, labels) for z in logits)
    soft = _sum(taught_by(ensemble, z, temperature) for z in logits)
    return hard + rise * temperature**2 * soft


def ffl_loss(
    logits: Sequence[Tensor], fused: Tensor, labels: Tensor, *, temperature: float, rise: float
) -> Tensor:
    """sum CE(z_i, y) + CE(z_f, y) + r T^2 [sum KL(sg z_f || z_i) + KL(sg mean z_i || z_f)].

    Kim et al. 2019, section 3: the fused classifier teaches the branches, their ensemble teaches
    the fused classifier.
    """
    hard = hard_loss(fused, labels) + _sum(hard_loss(z, labels) for z in logits)
    down = _sum(taught_by(fused, z, temperature) for z in logits)
    up = taught_by(mean_logits(logits), fused, temperature)
    return hard + rise * temperature**2 * (down + up)


def ensemblenet_loss(logits: Sequence[Tensor], labels: Tensor, *, weight: float) -> Tensor:
    """CE(z_e, y) + mean CE(z_i, y) + w mean KL(sg z_e || z_i), z_e the mean of the heads' logits.

    After Li, Ng and Natsev 2019, whose exact formula we could not check.
    """
    ensemble = mean_logits(logits)
    hard = hard_loss(ensemble, labels) + _sum(hard_loss(z, labels) for z in logits) / len(logits)
    soft = _sum(taught_by(ensemble, z, 1.0) for z in logits) / len(logits)
    return hard + weight * soft


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()
