"""Losses on inner layers, as pure functions of their outputs.

Shapes: N examples, C channels, H x W positions, D numbers a vector. Everything is computed in
float32 or wider, whatever precision the networks ran in.
"""

import math
from collections.abc import Callable, Sequence
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Tensor

from workers.engine.losses import wide


def _exact(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same without autocast: sums over thousands of positions need float32 products too."""

    @wraps(loss)
    def widened(*tensors: Tensor, **options: float) -> Tensor:
        with torch.autocast(tensors[0].device.type, enabled=False):
            return loss(*map(wide, tensors), **options)

    return widened


@_exact
def hint_loss(hint: Tensor, regressed: Tensor) -> Tensor:
    """1/2 ||u_h - r(v_g)||^2, summed over a layer's units, averaged over the batch.

    Romero et al. 2015 (FitNets), equation 3. Both N x anything.
    """
    return 0.5 * (hint - regressed).square().flatten(1).sum(dim=1).mean()


@_exact
def hint_error(hint: Tensor, regressed: Tensor) -> Tensor:
    """Mean squared error over examples and units: what the CRD benchmark calls FitNets."""
    return F.mse_loss(regressed, hint)


@_exact
def attention(maps_NCHW: Tensor) -> Tensor:
    """Q: the mean over channels of A^2, flattened and divided by its L2 norm, N x HW.

    Zagoruyko and Komodakis 2017, F_sum^2 and equation 2; sum or mean, the norm takes it out.
    """
    return F.normalize(maps_NCHW.square().mean(dim=1).flatten(1), dim=1)


@_exact
def attention_loss(teacher_NCHW: Tensor, student_NCHW: Tensor) -> Tensor:
    """mean (Q_s - Q_t)^2 over examples and positions (Zagoruyko and Komodakis 2017, as coded).

    Channels may differ; the larger map is average-pooled to the smaller one's size.
    """
    height = min(teacher_NCHW.shape[2], student_NCHW.shape[2])
    width = min(teacher_NCHW.shape[3], student_NCHW.shape[3])
    q_t, q_s = (
        attention(F.adaptive_avg_pool2d(maps, (height, width)))
        for maps in (teacher_NCHW, student_NCHW)
    )
    return (q_s - q_t).square().mean()


@_exact
def gram(first_NCHW: Tensor, second_NCHW: Tensor) -> Tensor:
    """G = 1 / (h w) sum over positions of F1 F2^T, N x C1 x C2 (Yim et al. 2017, equation 1).

    The larger map is max-pooled to the smaller one's size. Vectors N x C count as 1 x 1 maps.
    """
    first, second = (
        maps[..., None, None] if maps.ndim == 2 else maps for maps in (first_NCHW, second_NCHW)
    )
    height = min(first.shape[2], second.shape[2])
    width = min(first.shape[3], second.shape[3])
    a, b = (_max_pooled(maps, height, width).flatten(2) for maps in (first, second))
    return torch.einsum("nip,njp->nij", a, b) / (height * width)


def _max_pooled(maps: Tensor, height: int, width: int) -> Tensor:
    if maps.shape[2:] == (height, width):
        return maps
    return F.adaptive_max_pool2d(maps, (height, width))


def fsp_loss(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """Sum over neighbouring layers of ||G_t - G_s||^2, squared Frobenius, averaged over the batch.

    Yim et al. 2017, equation 2 with equal lambdas. Layers in order, N x C x H x W or N x C, with
    the same channels on both sides.
    """
    gaps = [
        gram(t_1, t_2) - gram(s_1, s_2)
        for t_1, t_2, s_1, s_2 in zip(teacher, teacher[1:], student, student[1:], strict=False)
    ]
    return torch.stack([gap.square().sum(dim=(1, 2)).mean() for gap in gaps]).sum()


@_exact
def distances(embeddings_ND: Tensor) -> Tensor:
    """Euclidean distances divided by their mean, N x N (Park et al. 2019, equation 4).

    The mean is over distances above 0. Where two examples coincide the gradient is 0, not that of
    sqrt(0), which is infinite.
    """
    exact = "donot_use_mm_for_euclid_dist"
    d_NN = torch.cdist(embeddings_ND, embeddings_ND, compute_mode=exact)
    mean = d_NN.sum() / (d_NN > 0).sum().clamp(min=1)
    return d_NN / mean.clamp(min=1e-12)


@_exact
def angles(embeddings_ND: Tensor) -> Tensor:
    """Cosines of the angles of all triplets, N x N x N: [j, i, k] at corner j (equation 7).

    Coinciding examples count as 0, and their gradient is 0.
    """
    gap_NND = embeddings_ND.unsqueeze(0) - embeddings_ND.unsqueeze(1)
    square_NN1 = gap_NND.square().sum(dim=2, keepdim=True)
    unit_NND = gap_NND * square_NN1.masked_fill(square_NN1 < 1e-12, torch.inf).rsqrt()
    return torch.bmm(unit_NND, unit_NND.transpose(1, 2))


def rkd_distance_loss(teacher_ND: Tensor, student_ND: Tensor) -> Tensor:
    """Huber loss (delta 1) of the relative distances, mean over all pairs (equation 5)."""
    return F.smooth_l1_loss(distances(student_ND), distances(teacher_ND))


def rkd_angle_loss(teacher_ND: Tensor, student_ND: Tensor) -> Tensor:
    """Huber loss (delta 1) of the cosines, mean over all triplets (equation 8)."""
    return F.smooth_l1_loss(angles(student_ND), angles(teacher_ND))


@_exact
def contrast_loss(log_scores: Tensor, *, examples: int) -> Tensor:
    """-log(s / (s + M/K)) for the positive, - sum log((M/K) / (s + M/K)) for the negatives.

    Tian, Krishnan and Isola 2020, equations 17 and 18: `log_scores` is log s, N x (1 + M), the
    positive first, M negatives out of K `examples`. Averaged over the batch.
    """
    prior = math.log((log_scores.shape[1] - 1) / examples)
    positive = F.softplus(prior - log_scores[:, 0])
    negatives = F.softplus(log_scores[:, 1:] - prior).sum(dim=1)
    return (positive + negatives).mean()
