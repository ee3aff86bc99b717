"""Losses on inner layers against loops in numpy, their gradients in float64, and their traps."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from workers.engine import feature_losses as losses
from workers.engine.contrast import Negatives


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def huber(gap: float) -> float:
    return gap**2 / 2 if abs(gap) < 1 else abs(gap) - 0.5


def test_hint_loss_is_half_the_squared_distance_of_an_example() -> None:
    hint, regressed = drawn(4, 3, 2, 2), drawn(4, 3, 2, 2, seed=1).requires_grad_()
    loss = losses.hint_loss(hint, regressed)
    gap = (hint - regressed).detach().numpy()
    assert loss.item() == pytest.approx((gap**2).sum() / 2 / 4)
    (gradient,) = torch.autograd.grad(loss, regressed)
    np.testing.assert_allclose(gradient, -gap / 4)
    # The table's error is a mean over units: 2 / 12 of it here.
    assert losses.hint_error(hint, regressed).item() == pytest.approx(loss.item() * 2 / 12)


def test_attention_by_hand_and_its_mean_over_positions() -> None:
    teacher, student = drawn(3, 5, 2, 3), drawn(3, 2, 2, 3, seed=1).requires_grad_()

    def q(maps: Tensor) -> np.ndarray:
        energy = (maps.detach().numpy() ** 2).sum(axis=1).reshape(len(maps), -1)
        return energy / np.sqrt((energy**2).sum(axis=1, keepdims=True))

    loss = losses.attention_loss(teacher, student)
    assert loss.item() == pytest.approx(((q(student) - q(teacher)) ** 2).mean())
    assert loss.item() == pytest.approx(((q(student) - q(teacher)) ** 2).sum() / (3 * 6))
    assert gradcheck(lambda maps: losses.attention_loss(teacher, maps), (student,))
    assert losses.attention_loss(teacher, 7 * teacher[:, [0, 1, 2, 3, 4]]).item() < 1e-20


def test_attention_pools_the_larger_map_by_its_average() -> None:
    large, small = drawn(2, 3, 4, 4), drawn(2, 3, 2, 2, seed=1)
    pooled = large.reshape(2, 3, 2, 2, 2, 2).mean(dim=(3, 5))
    expected = losses.attention_loss(pooled, small)
    torch.testing.assert_close(losses.attention_loss(large, small), expected)
    torch.testing.assert_close(losses.attention_loss(small, large), expected)


def test_a_dead_layer_has_no_attention_and_a_finite_gradient() -> None:
    student = torch.zeros(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    losses.attention_loss(drawn(2, 3, 2, 2), student).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_a_gram_matrix_by_hand() -> None:
    first, second = drawn(2, 3, 2, 2), drawn(2, 5, 2, 2, seed=1)
    expected = np.zeros((2, 3, 5))
    for n, i, j in np.ndindex(2, 3, 5):
        for y, x in np.ndindex(2, 2):
            expected[n, i, j] += float(first[n, i, y, x] * second[n, j, y, x]) / 4
    np.testing.assert_allclose(losses.gram(first, second), expected)


def test_a_gram_matrix_max_pools_the_larger_map() -> None:
    large, small = drawn(2, 3, 4, 4), drawn(2, 5, 2, 2, seed=1)
    blocks = large.reshape(2, 3, 2, 2, 2, 2)
    expected = losses.gram(blocks.amax(dim=(3, 5)), small)
    torch.testing.assert_close(losses.gram(large, small), expected)
    torch.testing.assert_close(losses.gram(small, large), expected.transpose(1, 2))
    averaged = losses.gram(blocks.mean(dim=(3, 5)), small)
    assert not torch.allclose(averaged, expected, atol=0.1)


def test_fsp_is_the_squared_frobenius_distance_summed_over_pairs() -> None:
    teacher = [drawn(2, 3, 4, 4), drawn(2, 5, 2, 2), drawn(2, 4, 2, 2)]
    student = [drawn(2, 3, 2, 2, seed=1), drawn(2, 5, 2, 2, seed=2), drawn(2, 4, 2, 2, seed=3)]
    expected = 0.0
    for k in (0, 1):
        gap = losses.gram(teacher[k], teacher[k + 1]) - losses.gram(student[k], student[k + 1])
        expected += np.mean([np.linalg.norm(one) ** 2 for one in gap.numpy()])
    assert losses.fsp_loss(teacher, student).item() == pytest.approx(expected)
    # Squared: twice as far is four times as much.
    far = [t * 2**0.5 for t in teacher]
    zero = [torch.zeros_like(t) for t in teacher]
    once, twice = losses.fsp_loss(teacher, zero), losses.fsp_loss(far, zero)
    torch.testing.assert_close(twice, 4 * once)
    leaves = [one.requires_grad_() for one in student]
    assert gradcheck(lambda *own: losses.fsp_loss(teacher, own), leaves)


def test_vectors_are_maps_of_one_position() -> None:
    first, second = drawn(2, 3), drawn(2, 4, seed=1)
    expected = first[:, :, None] * second[:, None, :]
    torch.testing.assert_close(losses.gram(first, second), expected)


def test_relations_by_hand() -> None:
    teacher, student = drawn(5, 4), 3 * drawn(5, 2, seed=1)

    def relative(e: np.ndarray) -> np.ndarray:
        d = np.array([[np.linalg.norm(a - b) for b in e] for a in e])
        return d / d[d > 0].mean()

    def cosine(e: np.ndarray, i: int, j: int, k: int) -> float:
        if j in (i, k):
            return 0.0
        a, b = e[i] - e[j], e[k] - e[j]
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    t, s = teacher.numpy(), student.numpy()
    by_pair = [huber(a - b) for a, b in zip(relative(s).flat, relative(t).flat, strict=True)]
    loss = losses.rkd_distance_loss(teacher, student)
    assert loss.item() == pytest.approx(np.mean(by_pair))
    by_triplet = [huber(cosine(s, *ijk) - cosine(t, *ijk)) for ijk in np.ndindex(5, 5, 5)]
    loss = losses.rkd_angle_loss(teacher, student)
    assert loss.item() == pytest.approx(np.mean(by_triplet))


@pytest.mark.parametrize("loss", [losses.rkd_distance_loss, losses.rkd_angle_loss])
def test_relations_pass_gradcheck_and_ignore_scale_and_place(loss) -> None:
    teacher, student = drawn(5, 4), drawn(5, 3, seed=1).requires_grad_()
    assert gradcheck(lambda e: loss(teacher, e), (student,))
    torch.testing.assert_close(loss(teacher, 5 * student + 2), loss(teacher, student))
    assert loss(teacher, 3 * teacher).item() < 1e-20


@pytest.mark.parametrize("loss", [losses.rkd_distance_loss, losses.rkd_angle_loss])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_examples_that_coincide_leave_the_gradient_finite(loss, dtype) -> None:
    teacher = drawn(6, 4).to(dtype)
    twins = drawn(6, 3, seed=1).to(dtype)
    twins[1] = twins[0]
    for student in (twins, torch.zeros(6, 3, dtype=dtype)):
        leaf = student.clone().requires_grad_()
        loss(teacher, leaf).backward()
        assert leaf.grad is not None
        assert leaf.grad.abs().max() < 100


def test_contrast_by_hand() -> None:
    scores = drawn(3, 5).exp()
    prior = 4 / 50
    expected = 0.0
    for row in scores.numpy():
        expected -= np.log(row[0] / (row[0] + prior))
        expected -= np.log(prior / (row[1:] + prior)).sum()
    loss = losses.contrast_loss(scores.log(), examples=50)
    assert loss.item() == pytest.approx(expected / 3)
    leaf = scores.log().requires_grad_()
    assert gradcheck(lambda log_s: losses.contrast_loss(log_s, examples=50), (leaf,))


def test_contrast_is_finite_for_extreme_scores() -> None:
    leaf = torch.tensor([[-500.0, 500.0, -500.0]], requires_grad=True)
    losses.contrast_loss(leaf, examples=10).backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


def test_examples_that_coincide_pull_at_no_angle() -> None:
    embeddings = drawn(4, 3)
    embeddings[1] = embeddings[0]
    leaf = embeddings.requires_grad_()
    (gradient,) = torch.autograd.grad(losses.angles(leaf)[0, 1].sum(), leaf)
    assert (gradient == 0).all()
    (gradient,) = torch.autograd.grad(losses.angles(leaf)[0, 2, 3], leaf)
    assert gradient.abs().max() > 0.01


@pytest.mark.parametrize("loss", ["hint_loss", "attention_loss", "fsp", "angles", "contrast"])
def test_narrow_features_are_compared_in_float32(loss) -> None:
    wide = drawn(4, 8, 4, 4).float().bfloat16().float()
    other = drawn(4, 8, 4, 4, seed=1).float().bfloat16().float()
    run = {
        "hint_loss": losses.hint_loss,
        "attention_loss": losses.attention_loss,
        "fsp": lambda a, b: losses.fsp_loss([a, a], [b, b]),
        "angles": lambda a, b: losses.rkd_angle_loss(a.flatten(1), b.flatten(1)),
        "contrast": lambda a, _: losses.contrast_loss(a.flatten(1), examples=9),
    }[loss]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = run(wide.bfloat16(), other.bfloat16())
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, run(wide, other))


def test_negatives_are_of_other_classes_and_evenly_drawn() -> None:
    labels = torch.tensor([2, 0, 1, 1, 2, 2, 0, 1])
    negatives = Negatives(labels, 8, torch.device("cpu"))
    index = torch.arange(8)
    drawn_ = negatives.draw(index, 6000, torch.Generator().manual_seed(4))
    assert (labels[drawn_] != labels[:, None]).all()
    for row, label in zip(drawn_, labels, strict=True):
        counts = row.bincount(minlength=8)[labels != label]
        expected = 6000 / len(counts)
        assert ((counts - expected).abs() < 5 * expected**0.5).all()
    again = negatives.draw(index, 6000, torch.Generator().manual_seed(4))
    assert torch.equal(drawn_, again)


@pytest.mark.parametrize("labels", [None, torch.zeros(5, dtype=torch.int64)])
def test_without_other_classes_negatives_are_all_other_examples(labels) -> None:
    drawn_ = Negatives(labels, 5, torch.device("cpu")).draw(
        torch.arange(5), 200, torch.Generator().manual_seed(0)
    )
    for own, row in enumerate(drawn_):
        assert set(row.tolist()) == set(range(5)) - {own}
