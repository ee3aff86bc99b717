"""The losses, as pure functions of logits.

Shapes: N examples, C classes. Softmax is taken in float32 or wider whatever the input's type is.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def wide(logits_NC: Tensor) -> Tensor:
    """The same numbers in at least float32."""
    return logits_NC.float() if logits_NC.dtype in (torch.float16, torch.bfloat16) else logits_NC


def log_soften(logits_NC: Tensor, temperature: float) -> Tensor:
    """log softmax(z / T), N x C."""
    return F.log_softmax(wide(logits_NC) / temperature, dim=1)


def soften(logits_NC: Tensor, temperature: float) -> Tensor:
    """softmax(z / T), N x C (Hinton, Vinyals and Dean 2015, equation 1)."""
    return F.softmax(wide(logits_NC) / temperature, dim=1)


def log_soften_ensemble(logits: Sequence[Tensor], temperature: float) -> Tensor:
    """log of the mean of the members' softmax at T, N x C.

    Probabilities are averaged, not logits (Hinton, Vinyals and Dean 2015, section 4).
    """
    if len(logits) == 1:
        return log_soften(logits[0], temperature)
    members = torch.stack([log_soften(member, temperature) for member in logits])
    return torch.logsumexp(members, dim=0) - math.log(len(logits))


def kl_divergence(log_p_NC: Tensor, log_q_NC: Tensor) -> Tensor:
    """KL(p || q), summed over classes, averaged over the batch: zero when they are equal."""
    return F.kl_div(log_q_NC, log_p_NC, reduction="batchmean", log_target=True)


def hard_loss(logits_NC: Tensor, labels_N: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the labels, averaged over the batch."""
    return F.cross_entropy(wide(logits_NC), labels_N, label_smoothing=smoothing)


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor | None,
    *,
    temperature: float,
    alpha: float,
) -> Tensor:
    """alpha T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + (1 - alpha) CE(z_s, y), a scalar.

    `alpha` is the weight of the SOFT term. `labels` (N) may be None when alpha is 1. The T^2 keeps
    the soft gradient's size as T changes (Hinton, Vinyals and Dean 2015, section 2).

    Raises ValueError for T <= 0, alpha outside [0, 1], or labels missing where they are needed.
    """
    if temperature <= 0:
        raise ValueError("temperature must be above 0")
    if not 0 <= alpha <= 1:
        raise ValueError("alpha must lie in [0, 1]")
    if alpha < 1 and labels is None:
        raise ValueError("labels are needed when alpha is below 1")
    soft = kl_divergence(
        log_soften(teacher_logits, temperature), log_soften(student_logits, temperature)
    )
    loss = alpha * temperature**2 * soft
    if alpha < 1 and labels is not None:
        loss = loss + (1 - alpha) * hard_loss(student_logits, labels)
    return loss


def logit_matching(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Half the squared distance of the zero-meaned logits, summed over classes, batch mean.

    Ba and Caruana 2014. T^2 KL tends to this divided by C as T grows (Hinton, Vinyals and Dean
    2015, section 2.1, equation 4).
    """
    gap = wide(student_logits) - wide(teacher_logits)
    gap = gap - gap.mean(dim=1, keepdim=True)
    return 0.5 * gap.square().sum(dim=1).mean()
