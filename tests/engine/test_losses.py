"""The losses against closed forms, their gradients in float64, and their limits."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from workers.engine import losses

GOLDEN = {
    1: [3.19450938e-04, 4.74107229e-02, 9.52269826e-01],
    2: [0.01475347, 0.17973411, 0.80551241],
    3: [0.04834092, 0.25594054, 0.69571853],
    4: [0.08417934, 0.29381477, 0.62200588],
}


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Student and teacher logits (6 x 5, float64) and labels."""
    generator = torch.Generator().manual_seed(3)
    student = 3 * torch.randn(6, 5, generator=generator, dtype=torch.float64)
    teacher = 3 * torch.randn(6, 5, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), teacher, torch.randint(5, (6,), generator=generator)


@pytest.mark.parametrize("temperature", GOLDEN)
def test_softened_softmax_golden_numbers(temperature: int) -> None:
    softened = losses.soften(torch.tensor([[2.0, 7.0, 10.0]]), temperature)
    torch.testing.assert_close(softened, torch.tensor([GOLDEN[temperature]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_kd_loss_value_and_gradient_match_the_closed_form(logits, temperature, alpha) -> None:
    student, teacher, labels = logits
    loss = losses.kd_loss(student, teacher, labels, temperature=temperature, alpha=alpha)
    (gradient,) = torch.autograd.grad(loss, student)

    p = torch.softmax(teacher / temperature, 1)
    q = torch.softmax(student / temperature, 1)
    kl = (p * (p.log() - q.log())).sum(1).mean()
    one_hot = torch.nn.functional.one_hot(labels, 5).double()
    probabilities = torch.softmax(student, 1)
    ce = -(one_hot * probabilities.log()).sum(1).mean()
    expected = alpha * temperature**2 * kl + (1 - alpha) * ce
    # d/dz_s: T^2 * (q - p) / T for the soft term, softmax - y for the hard one.
    by_hand = (alpha * temperature * (q - p) + (1 - alpha) * (probabilities - one_hot)) / 6
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, by_hand)


def test_kd_loss_passes_gradcheck(logits) -> None:
    student, teacher, labels = logits
    assert gradcheck(
        lambda z: losses.kd_loss(z, teacher, labels, temperature=3.0, alpha=0.7), (student,)
    )


def test_soft_loss_is_a_divergence_with_its_zero_at_the_teacher(logits) -> None:
    _, teacher, _ = logits
    loss = losses.kd_loss(teacher, teacher, None, temperature=2.0, alpha=1.0)
    assert abs(loss.item()) < 1e-12


def test_kl_is_summed_over_classes_and_averaged_over_the_batch(logits) -> None:
    student, teacher, _ = logits
    once = losses.kd_loss(student, teacher, None, temperature=2.0, alpha=1.0)
    twice = losses.kd_loss(
        student.repeat(2, 1), teacher.repeat(2, 1), None, temperature=2.0, alpha=1.0
    )
    torch.testing.assert_close(once, twice)
    # The mean over all elements would be smaller by the number of classes.
    p = torch.softmax(teacher / 2, 1)
    q = torch.softmax(student / 2, 1)
    torch.testing.assert_close(once, 4 * 5 * (p * (p.log() - q.log())).mean())


def test_temperature_leaves_the_hard_term_alone(logits) -> None:
    student, teacher, labels = logits
    cold = losses.kd_loss(student, teacher, labels, temperature=1.0, alpha=0.0)
    hot = losses.kd_loss(student, teacher, labels, temperature=20.0, alpha=0.0)
    torch.testing.assert_close(cold, hot)


def test_logit_matching_is_the_limit_of_tempered_kd(logits) -> None:
    student, teacher, _ = logits
    kd = losses.kd_loss(student, teacher, None, temperature=1e4, alpha=1.0)
    matching = losses.logit_matching(student, teacher)
    torch.testing.assert_close(kd, matching / 5, rtol=1e-3, atol=0)
    (kd_gradient,) = torch.autograd.grad(kd, student)
    (gradient,) = torch.autograd.grad(matching, student)
    torch.testing.assert_close(kd_gradient, gradient / 5, rtol=1e-2, atol=1e-5)


def test_logit_matching_ignores_a_shift_of_each_example(logits) -> None:
    student, teacher, _ = logits
    shift = torch.arange(6.0, dtype=torch.float64)[:, None]
    torch.testing.assert_close(
        losses.logit_matching(student + shift, teacher), losses.logit_matching(student, teacher)
    )


def test_ensemble_averages_probabilities_at_the_temperature(logits) -> None:
    student, teacher, _ = logits
    members = [teacher, student.detach(), teacher.flip(1)]
    expected = torch.stack([torch.softmax(z / 3.0, 1) for z in members]).mean(0)
    torch.testing.assert_close(losses.log_soften_ensemble(members, 3.0).exp(), expected)
    averaged_logits = torch.softmax(torch.stack(members).mean(0) / 3.0, 1)
    assert not torch.allclose(expected, averaged_logits, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_logits_are_softened_in_float32(dtype) -> None:
    z = torch.tensor([[2.0, 7.0, 10.0]], dtype=dtype)
    assert losses.soften(z, 4.0).dtype == torch.float32
    torch.testing.assert_close(losses.soften(z, 4.0), losses.soften(z.float(), 4.0))


def test_label_smoothing_closed_form(logits) -> None:
    student, _, labels = logits
    target = 0.9 * torch.nn.functional.one_hot(labels, 5).double() + 0.1 / 5
    expected = -(target * torch.log_softmax(student, 1)).sum(1).mean()
    torch.testing.assert_close(losses.hard_loss(student, labels, 0.1), expected)


def test_extreme_logits_stay_finite() -> None:
    z = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    t = torch.tensor([[-1e4, 1e4, 0.0]])
    loss = losses.kd_loss(z, t, None, temperature=1.0, alpha=1.0)
    loss.backward()
    assert math.isfinite(loss.item())
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(
    ("temperature", "alpha"), [(0.0, 0.5), (-1.0, 0.5), (1.0, -0.1), (1.0, 1.1), (1.0, 0.5)]
)
def test_impossible_arguments_are_refused(logits, temperature, alpha) -> None:
    student, teacher, _ = logits
    with pytest.raises(ValueError, match=r"temperature|alpha|labels"):
        losses.kd_loss(student, teacher, None, temperature=temperature, alpha=alpha)
