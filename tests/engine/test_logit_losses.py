"""The further logit losses against other ways to compute them, in float64, and their traps."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from workers.engine import logit_losses as further
from workers.engine.losses import kl_divergence, log_soften


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Student and teacher logits (6 x 5, float64) and labels."""
    generator = torch.Generator().manual_seed(4)
    student = 2 * torch.randn(6, 5, generator=generator, dtype=torch.float64)
    teacher = 3 * torch.randn(6, 5, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), teacher, torch.randint(5, (6,), generator=generator)


def test_without_leaves_out_one_place_of_each_row() -> None:
    values = torch.arange(12.0).reshape(3, 4)
    left = further.without(values, torch.tensor([0, 2, 3]))
    assert left.tolist() == [[1, 2, 3], [4, 5, 7], [8, 9, 10]]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_dkd_by_hand_and_its_decomposition_of_kd(logits, temperature) -> None:
    student, teacher, labels = logits
    target, others = further.decoupled(
        log_soften(teacher, temperature), log_soften(student, temperature), labels
    )
    tckd, nckd, whole = [], [], 0.0
    for z_s, z_t, y in zip(student.detach().numpy(), teacher.numpy(), labels.tolist(), strict=True):
        p, q = (np.exp(z / temperature) / np.exp(z / temperature).sum() for z in (z_t, z_s))
        tckd.append(p[y] * np.log(p[y] / q[y]) + (1 - p[y]) * np.log((1 - p[y]) / (1 - q[y])))
        p_, q_ = (np.delete(d, y) / np.delete(d, y).sum() for d in (p, q))
        nckd.append((p_ * np.log(p_ / q_)).sum())
        whole += tckd[-1] + (1 - p[y]) * nckd[-1]
    assert target.item() == pytest.approx(np.mean(tckd))
    assert others.item() == pytest.approx(np.mean(nckd))
    # Equation 6 of the paper: plain distillation is TCKD + (1 - p[y]) NCKD.
    kl = kl_divergence(log_soften(teacher, temperature), log_soften(student, temperature))
    assert kl.item() == pytest.approx(whole / 6)


def test_dkd_gradient_in_closed_form(logits) -> None:
    """d TCKD / dz: (q[y] - p[y]) (1{i=y} - 1{i!=y} q'_i); d NCKD / dz: q' - p' beside y, 0 at y."""
    student, teacher, labels = logits
    rows = torch.arange(6)
    losses = further.decoupled(log_soften(teacher, 1), log_soften(student, 1), labels)
    target, others = (torch.autograd.grad(x, student, retain_graph=True)[0] for x in losses)
    p, q = teacher.softmax(1), student.detach().softmax(1)
    p_, q_ = (d.clone() for d in (p, q))
    for d in (p_, q_):
        d[rows, labels] = 0
        d /= d.sum(1, keepdim=True)
    gap = (q - p)[rows, labels][:, None]
    binary = -gap * q_
    binary[rows, labels] = gap[:, 0]
    torch.testing.assert_close(target, binary / 6)
    torch.testing.assert_close(others, (q_ - p_) / 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dkd_never_takes_the_logarithm_of_zero(dtype) -> None:
    """The trap: a teacher that is certain, or a mask, puts 0 log 0 into both terms."""
    teacher = torch.tensor([[200.0, 0, 0], [0, 500, 0], [-1e4, 0, 1e4]], dtype=dtype)
    student = torch.tensor([[0.0, 300, 0], [0, 0, 0], [1e4, 0, -1e4]], dtype=dtype)
    student.requires_grad_()
    for labels in ([0, 1, 2], [1, 0, 1]):
        losses = further.decoupled(
            log_soften(teacher, 1), log_soften(student, 1), torch.tensor(labels)
        )
        assert all(loss.isfinite() for loss in losses)
        (gradient,) = torch.autograd.grad(sum(losses), student)
        assert gradient.isfinite().all()


def test_dist_is_numpys_correlation(logits) -> None:
    student, teacher, _ = logits
    p, q = (z.detach().softmax(1).numpy() for z in (teacher, student))
    inter, intra = further.correlation_losses(teacher.softmax(1), student.softmax(1))
    rows = [np.corrcoef(p[i], q[i])[0, 1] for i in range(6)]
    columns = [np.corrcoef(p[:, j], q[:, j])[0, 1] for j in range(5)]
    assert inter.item() == pytest.approx(1 - np.mean(rows), abs=1e-7)
    assert intra.item() == pytest.approx(1 - np.mean(columns), abs=1e-7)


def test_dist_gradient(logits) -> None:
    student, teacher, _ = logits
    p = teacher.softmax(1)
    assert gradcheck(lambda z: further.correlation_losses(p, z.softmax(1)), (student,))


def test_dist_asks_for_no_scale(logits) -> None:
    """What sets it apart from a KL: any rising line through the teacher's numbers will do."""
    _, teacher, _ = logits
    p = teacher.softmax(1)
    for loss in further.correlation_losses(p, 0.2 * p + 0.16):
        assert loss.item() == pytest.approx(0, abs=1e-6)


def test_correlation_with_a_constant_has_neither_value_nor_gradient() -> None:
    """A fresh student says the same of a blank example: 0 / 0, and gradients of 1e8."""
    q = torch.zeros(4, 10, requires_grad=True)
    p = torch.randn(4, 10, generator=torch.Generator().manual_seed(0)).softmax(1)
    inter, intra = further.correlation_losses(p, q.softmax(1))
    assert inter.item() == intra.item() == 1
    (gradient,) = torch.autograd.grad(inter + intra, q)
    assert gradient.abs().max() < 1


def test_standardised_logits_have_mean_0_and_the_authors_deviation_1(logits) -> None:
    student, _, _ = logits
    z = further.standardise(student)
    reference = (student - student.mean(1, keepdim=True)) / student.std(1, keepdim=True)
    torch.testing.assert_close(z, reference, atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(further.standardise(3 * student + 7), z, atol=1e-7, rtol=1e-7)
    assert gradcheck(further.standardise, (student,), atol=1e-4)


def test_nkd_by_hand(logits) -> None:
    student, teacher, labels = logits
    rows, temperature = torch.arange(6), 2.0
    target, others = further.normalised(
        log_soften(teacher, 1), log_soften(student, 1), labels, temperature
    )
    p, q = teacher.softmax(1)[rows, labels], student.softmax(1)[rows, labels]
    torch.testing.assert_close(target, (p * (p / q).log()).mean())
    keep = torch.ones(6, 5, dtype=torch.bool)
    keep[rows, labels] = False
    p_, q_ = ((z[keep].reshape(6, 4) / temperature).softmax(1) for z in (teacher, student))
    cross_entropy = -(p_ * q_.log()).sum(1).mean()
    entropy = -(p_ * p_.log()).sum(1).mean()
    torch.testing.assert_close(others, cross_entropy - entropy)
    # The paper's loss differs by the teacher's entropies only: the gradient is the same.
    paper = -(p * q.log()).mean() + 1.5 * temperature**2 * cross_entropy
    ours = target + 1.5 * temperature**2 * others
    for one, other in zip(
        torch.autograd.grad(ours, student, retain_graph=True),
        torch.autograd.grad(paper, student),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_nkd_is_zero_at_the_teacher(logits) -> None:
    _, teacher, labels = logits
    log_p = log_soften(teacher, 1)
    assert all(abs(x) < 1e-12 for x in further.normalised(log_p, log_p, labels, 3.0))


def test_wttm_by_hand_and_its_gradient(logits) -> None:
    student, teacher, _ = logits
    temperature = 5.0
    loss = further.transformed(log_soften(teacher, 1), log_soften(student, 1), temperature)
    power = teacher.softmax(1) ** (1 / temperature)
    weight = power.sum(1)
    # A power transform of the probabilities is the softmax at T.
    torch.testing.assert_close(power / weight[:, None], (teacher / temperature).softmax(1))
    p = (teacher / temperature).softmax(1)
    q = student.softmax(1)
    torch.testing.assert_close(loss, (weight * (p * (p / q).log()).sum(1)).mean())
    (gradient,) = torch.autograd.grad(loss, student)
    # No T and no T^2 in it: the student is not tempered.
    torch.testing.assert_close(gradient, weight[:, None] * (q.detach() - p) / 6)


def test_wttm_weighs_the_unsure_more() -> None:
    student = log_soften(torch.zeros(1, 3), 1)
    weights = []
    for teacher in (torch.tensor([[9.0, 0, 0]]), torch.tensor([[1.0, 0, 0]])):
        kl = kl_divergence(log_soften(teacher, 4.0), student)
        weights.append(further.transformed(log_soften(teacher, 1), student, 4.0) / kl)
    assert 1 < weights[0] < 1.5 < 2 < weights[1] < 3


def test_policy_sharpens_the_teacher_alone() -> None:
    """The trap: as `kd` at T = 0.01 the student's logits would be sharpened too, and shrink."""
    q_values = torch.tensor([[10.00, 10.02, 9.99]], dtype=torch.float64)
    student = torch.tensor([[0.3, 0.1, -0.2]], dtype=torch.float64, requires_grad=True)
    loss = kl_divergence(log_soften(q_values, 0.01), log_soften(student, 1.0))
    (gradient,) = torch.autograd.grad(loss, student)
    p = F.softmax(100 * q_values, 1)
    assert p[0, 1].item() == pytest.approx(1 / (1 + math.exp(-2) + math.exp(-3)))
    torch.testing.assert_close(gradient, student.detach().softmax(1) - p)
