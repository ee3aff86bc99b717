"""A generalist and its specialists: clusters, the dustbin's correction, the common opinion.

Hinton, Vinyals and Dean 2015, section 5. Shapes: N examples, C classes; a specialist for a set S of
K classes has K + 1 outputs, the last of which is the dustbin: every class outside of S.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-6
ROUNDS = 500


def covariance(probabilities_NC: Tensor) -> Tensor:
    """The classes' covariance over examples, C x C in float64."""
    return torch.cov(probabilities_NC.double().T, correction=0)


def cluster(covariance_CC: Tensor, count: int, seed: int) -> Tensor:
    """k-means over the columns of the covariance: C cluster numbers, 0 the one of class 0.

    Classes that the generalist often predicts together fall into one cluster.
    """
    from sklearn.cluster import KMeans  # half a second to import, for this method alone

    columns = covariance_CC.T.cpu().numpy()
    found = KMeans(count, n_init=10, random_state=seed % 2**32).fit_predict(columns)
    _, first, numbers = np.unique(found, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return torch.from_numpy(rank[numbers].astype(np.int64))


def dustbin_correction(prior: float) -> float:
    """log((1 - pi) / pi), added to the dustbin's logit.

    A specialist trains on as many examples from S as from outside, where S really has the prior pi:
    Bayes' rule gives the dustbin back its odds. Rare sets make it positive.
    """
    if not 0 < prior < 1:
        raise ValueError("the prior of a set must lie between 0 and 1")
    return math.log((1 - prior) / prior)


@dataclass(frozen=True)
class Opinion:
    """What a specialist says of N examples."""

    classes: Tensor
    """S, K class numbers."""
    probabilities: Tensor
    """N x (K + 1), the dustbin last."""


def common_opinion(general_NC: Tensor, opinions: Sequence[Opinion], top: int = 1) -> Tensor:
    """q, N x C: minimises KL(p_g || q) + sum KL(p_m || q) over the active specialists (equation 5).

    Active are those whose set meets the generalist's `top` most probable classes; q's dustbin is
    the sum of its classes outside of S. By the fixed point of the stationarity condition,
    q_i = [p_g,i + sum over m of (p_m,i where i is in S_m, else p_m,dust q_i / Q_dust)] / (1 + |A|),
    each round of which lowers the sum.
    """
    best = general_NC.topk(min(top, general_NC.shape[1]), dim=1).indices
    numerator = general_NC.clone()
    weight = torch.ones_like(general_NC[:, :1])
    outside = []
    for opinion in opinions:
        inside = torch.zeros(general_NC.shape[1], dtype=torch.bool, device=general_NC.device)
        inside[opinion.classes] = True
        active = inside[best].any(dim=1, keepdim=True).to(general_NC.dtype)
        numerator[:, opinion.classes] += active * opinion.probabilities[:, :-1]
        weight += active
        outside.append((~inside, active * opinion.probabilities[:, -1:]))
    q = general_NC
    tiny = torch.finfo(q.dtype).tiny
    for _ in range(ROUNDS):
        spread = numerator
        for beyond, mass in outside:
            rest = q * beyond
            spread = spread + mass * rest / rest.sum(dim=1, keepdim=True).clamp(min=tiny)
        before, q = q, spread / weight
        if (q - before).abs().max() < TOLERANCE:
            break
    return q
