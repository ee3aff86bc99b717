"""Further losses on logits, as pure functions.

Shapes: N examples, C classes. p is the teacher's distribution, q the student's; both come as
logarithms (`losses.log_soften`), so that no logarithm of zero is ever taken. p has no gradient.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from workers.engine.losses import kl_divergence, log_soften_ensemble, wide

EPSILON = 1e-8


def without(values_NC: Tensor, classes_N: Tensor) -> Tensor:
    """Each row without the entry of its class, N x (C - 1), the others in their order.

    Masking that entry by minus infinity instead would make 0 (-inf) of it in every KL.
    """
    return values_NC.gather(1, _other_places(values_NC, classes_N))


def _other_places(values_NC: Tensor, classes_N: Tensor) -> Tensor:
    places = torch.arange(values_NC.shape[1] - 1, device=values_NC.device)
    return places + (places >= classes_N[:, None])


def at_classes(values_NC: Tensor, classes_N: Tensor) -> Tensor:
    """Each row's entry of its class, N."""
    return values_NC.gather(1, classes_N[:, None]).squeeze(1)


def decoupled(log_p_NC: Tensor, log_q_NC: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """(TCKD, NCKD) of Zhao et al. 2022, equation 6, each a batch mean.

    TCKD = KL between (p[y], 1 - p[y]) and (q[y], 1 - q[y]). NCKD = KL between the distributions
    over the classes other than y, renormalised. For each example KL(p || q) is
    TCKD + (1 - p[y]) NCKD.
    """
    binary, others = [], []
    for log_probabilities in (log_p_NC, log_q_NC):
        rest = without(log_probabilities, labels_N)
        rest_mass = rest.logsumexp(dim=1)
        binary.append(torch.stack([at_classes(log_probabilities, labels_N), rest_mass], dim=1))
        others.append(rest - rest_mass[:, None])
    return kl_divergence(*binary), kl_divergence(*others)


def correlation_losses(p_NC: Tensor, q_NC: Tensor) -> tuple[Tensor, Tensor]:
    """(inter, intra) of Huang et al. 2022, equations 9 and 10: probabilities, not logarithms.

    inter: 1 - Pearson's correlation of p's and q's rows, averaged over examples; intra: of their
    columns, averaged over classes.
    """
    inter = 1 - (unit_deviations(p_NC, 1) * unit_deviations(q_NC, 1)).sum(dim=1).mean()
    intra = 1 - (unit_deviations(p_NC, 0) * unit_deviations(q_NC, 0)).sum(dim=0).mean()
    return inter, intra


def unit_deviations(x: Tensor, dim: int) -> Tensor:
    """Deviations from the mean along `dim`, scaled to length 1 there.

    Where x is constant to rounding they are 0 and so is their gradient: it would be a division of
    noise by noise, as large as 1 / EPSILON.
    """
    x = wide(x)
    deviations = x - x.mean(dim=dim, keepdim=True)
    length = torch.linalg.vector_norm(deviations, dim=dim, keepdim=True)
    noise = 8 * torch.finfo(x.dtype).eps * torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return deviations * torch.where(length > noise, 1 / (length + EPSILON), 0.0)


def standardise(logits_NC: Tensor) -> Tensor:
    """(z - mean) / std of each example (Sun et al. 2024, algorithm 1), N x C.

    std divides by C - 1, as the authors' code does; the paper's text divides by C, which is the
    same at a temperature sqrt(C / (C - 1)) as high.
    """
    return unit_deviations(logits_NC, 1) * math.sqrt(logits_NC.shape[1] - 1)


def normalised(
    log_p_NC: Tensor, log_q_NC: Tensor, labels_N: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """(target, non-target) of Yang et al. 2023, equation 13, each a batch mean.

    target = p[y] (log p[y] - log q[y]); non-target = KL between the distributions over the other
    classes, renormalised, at `temperature`. The paper's cross-entropies are larger by the teacher's
    entropies, which have no gradient. p and q at T = 1. The target term alone can be below zero.
    """
    log_p, log_q = at_classes(log_p_NC, labels_N), at_classes(log_q_NC, labels_N)
    target = (log_p.exp() * (log_p - log_q)).mean()
    rest_p, rest_q = (
        F.log_softmax(without(log_probabilities, labels_N) / temperature, dim=1)
        for log_probabilities in (log_p_NC, log_q_NC)
    )
    return target, kl_divergence(rest_p, rest_q)


def transformed(log_p_NC: Tensor, log_q_NC: Tensor, temperature: float) -> Tensor:
    """mean of U KL(p_T || q) (Zheng and Yang 2024, equation 19): p and q at T = 1.

    p_T = p^(1/T) / U is the softmax of the teacher's logits at T, and U = sum of p^(1/T) weighs
    examples whose teacher is unsure more. Only the teacher is tempered, so no T^2 belongs here.
    """
    powers = log_p_NC / temperature
    log_u = powers.logsumexp(dim=1, keepdim=True)
    log_p = powers - log_u
    return (log_p.add(log_u).exp() * (log_p - log_q_NC)).sum(dim=1).mean()


def confidence_weighted(log_p_NC: Tensor, log_q_NC: Tensor, labels_N: Tensor) -> Tensor:
    """sum over the batch of w cross_entropy(q, y), w = max p / sum of max p (Furlanello et al.
    2018, equation 8): of the teacher, how sure it is of each example, and no more."""
    weights = log_p_NC.amax(dim=1).softmax(dim=0)
    return -(weights * at_classes(log_q_NC, labels_N)).sum()


def permute_others(log_p_NC: Tensor, generator: torch.Generator) -> Tensor:
    """Each row with its maximum kept in place and the other entries permuted, N x C (Furlanello
    et al. 2018, equation 10). It is the maximum that stays, which need not be the label's entry."""
    return permute_alike([log_p_NC], generator)[0]


def permute_alike(members: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """`permute_others` of an ensemble's logits, each N x C: the maximum of its mean probability
    stays, and all members are permuted alike, so that the mean at any T is permuted too."""
    classes = log_soften_ensemble(members, 1.0).argmax(dim=1)
    places = _other_places(members[0], classes)
    order = torch.rand(places.shape, generator=generator).argsort(dim=1).to(places.device)
    shuffled = places.gather(1, order)
    return [member.scatter(1, places, member.gather(1, shuffled)) for member in members]
