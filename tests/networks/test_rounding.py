"""Rounding by hand: integers, scales, packing, and gradients that pass straight through."""

import numpy as np
import pytest
import torch
from torch import Tensor

from app.spec.networks import MLP
from app.spec.quantization import Quantization, packed
from workers.networks import build
from workers.networks.quantized import rounded
from workers.networks.rounding import (
    affine,
    input_integers,
    pack,
    round_input,
    round_weight,
    to_integers,
    unpack,
)

SPEC = MLP(inputs=6, hidden=(5, 4), classes=3)


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_the_largest_magnitude_of_a_channel_becomes_the_largest_integer() -> None:
    weight = torch.tensor([[0.5, -1.0, 0.2], [0.0, 0.0, 0.0]], dtype=torch.float64)
    integers, scale = to_integers(weight, 4)
    assert integers.tolist() == [[4, -7, 1], [0, 0, 0]]
    assert scale.tolist() == [1 / 7, 1]
    integers, scale = to_integers(weight, 8)
    assert integers.tolist() == [[64, -127, 25], [0, 0, 0]]
    assert scale.tolist() == [1 / 127, 1]


def test_ternary_weights_keep_what_is_large() -> None:
    """Mean magnitude 1.625, threshold 1.1375: 3 and -2 stay, and stand for their mean."""
    integers, scale = to_integers(torch.tensor([[3.0, -1.0, 0.5, -2.0]]), 2)
    assert integers.tolist() == [[1, 0, 0, -1]]
    assert scale.tolist() == [2.5]


def test_the_ternary_scale_is_the_nearest_one() -> None:
    """No other scale brings the integers closer to the weights (Li and Liu 2016, equation 5)."""
    weight = randn(3, 40)
    integers, scale = to_integers(weight, 2)

    def error(factor: float) -> Tensor:
        return (weight - factor * scale[:, None] * integers).square().sum(dim=1)

    assert (error(1.0) < error(0.99)).all()
    assert (error(1.0) < error(1.01)).all()


@pytest.mark.parametrize(("bits", "steps"), [(8, 127), (4, 7)])
def test_a_weight_moves_by_half_a_step_at_the_most(bits: int, steps: int) -> None:
    weight = randn(4, 3, 5, 5)
    moved = (round_weight(weight, bits) - weight).abs().amax(dim=(1, 2, 3))
    assert (moved <= weight.abs().amax(dim=(1, 2, 3)) / steps / 2 + 1e-12).all()


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_a_weight_has_the_gradient_of_what_it_is_rounded_to(bits: int) -> None:
    weight, factor = randn(4, 6).requires_grad_(), randn(4, 6, seed=1)
    made = round_weight(weight, bits)
    (made.square() * factor).sum().backward()
    assert torch.equal(weight.grad, 2 * made.detach() * factor)


def test_an_input_has_a_gradient_where_it_is_not_cut_off() -> None:
    scale, zero = torch.tensor(0.1), torch.tensor(3, dtype=torch.int32)  # holds -0.3 .. 1.2
    x = torch.tensor([-0.5, -0.3, -0.04, 0.0, 0.26, 1.2, 1.3], requires_grad=True)
    made = round_input(x, scale, zero, 15)
    assert made.tolist() == pytest.approx([-0.3, -0.3, 0.0, 0.0, 0.3, 1.2, 1.2])
    (made * torch.arange(1.0, 8.0)).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]
    q = input_integers(x.detach(), 0.1, 3, 15)
    assert q.tolist() == [0, 0, 3, 3, 6, 15, 15]


@pytest.mark.parametrize(
    ("low", "high", "zero"), [(0.0, 5.1, 0), (-5.1, 0.0, 255), (-1.0, 4.1, 50)]
)
def test_zero_is_an_integer_whatever_the_range(low: float, high: float, zero: int) -> None:
    scale, found = affine(torch.tensor(low), torch.tensor(high), 255)
    assert scale == pytest.approx((high - low) / 255)
    assert found == zero
    assert round_input(torch.zeros(1), scale, found, 255) == 0


def test_an_input_that_was_never_anything_but_zero_has_a_range() -> None:
    scale, zero = affine(torch.zeros(()), torch.zeros(()), 255)
    assert (scale, zero) == (1, 0)


def test_a_rounded_layer_s_gradients_by_hand() -> None:
    """y = X W^T + b with X and W rounded: dW = g^T X, db = sum g, dx = g W within the range."""
    network = rounded(build(SPEC, seed=1).double(), Quantization(weights=4))
    layer = network.get_submodule("layers.1").eval()
    layer.low.fill_(-0.5)
    layer.high.fill_(1.0)
    x, grad = randn(7, 5, seed=2).requires_grad_(), randn(7, 4, seed=3)
    (layer(x) * grad).sum().backward()

    numbers, scale = to_integers(layer.weight.detach(), 4)
    weight = (numbers * scale[:, None]).numpy()
    step = 1.5 / 255
    read = x.detach().numpy()
    inside = (read / step + 85 > -0.5) & (read / step + 85 < 255.5)
    x_rounded = (np.clip(np.round(read / step) + 85, 0, 255) - 85) * step
    assert 0.2 < inside.mean() < 0.9
    np.testing.assert_allclose(layer.weight.grad, grad.numpy().T @ x_rounded, rtol=1e-5)
    np.testing.assert_allclose(layer.bias.grad, grad.numpy().sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(x.grad, (grad.numpy() @ weight) * inside, rtol=1e-6, atol=1e-9)


def test_a_range_follows_the_batches_in_train_mode_alone() -> None:
    network = rounded(build(SPEC, seed=1), Quantization())
    layer = network.get_submodule("layers.1")
    layer(torch.tensor([[0.0, 2.0, -1.0, 0.0, 0.0]]))
    assert (layer.low, layer.high) == (-1, 2)  # the first batch whole
    layer(torch.tensor([[1.0, 4.0, 1.0, 1.0, 1.0]]))
    assert (float(layer.low), float(layer.high)) == pytest.approx((-0.9, 2.2))
    layer.eval()
    layer(torch.full((1, 5), 9.0))
    assert float(layer.high) == pytest.approx(2.2)
    layer.observing = True
    layer(torch.full((1, 5), 9.0))
    layer(torch.full((1, 5), 1.0))
    assert (float(layer.low), float(layer.high)) == pytest.approx((-0.9, 9))


@pytest.mark.parametrize("bits", [4, 2])
@pytest.mark.parametrize("shape", [(3, 8), (3, 7), (2, 3, 5, 5), (1, 1)], ids=str)
def test_packing_keeps_every_number(bits: int, shape: tuple[int, ...]) -> None:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    generator = torch.Generator().manual_seed(4)
    numbers = torch.randint(low, high, shape, generator=generator, dtype=torch.int8)
    rows = pack(numbers, bits)
    assert rows.shape == (shape[0], packed(int(np.prod(shape[1:])), bits))
    assert torch.equal(unpack(rows, bits, shape), numbers)


def test_the_first_number_lies_in_the_lowest_bits() -> None:
    assert pack(torch.tensor([[-8, 7, 1]], dtype=torch.int8), 4).tolist() == [[0xF0, 0x09]]
    assert pack(torch.tensor([[-1, 0, 1, 1]], dtype=torch.int8), 2).tolist() == [[0b11_11_10_01]]
