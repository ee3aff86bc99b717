"""From real weights and activations to integers, and from integers to less than a byte each.

Shapes: O output channels, K numbers that each of them reads.
"""

from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.spec.shapes import Shape

TINY = torch.finfo(torch.float32).tiny
"""A scale below it has no reciprocal."""
TERNARY = 0.7
"""Of a channel's mean magnitude: what ternary weights keep lies above."""


def to_integers(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Integers as floats, in the weight's shape, and a scale for each channel, O.

    Symmetric: the largest magnitude becomes 2^(bits - 1) - 1. With 2 bits, as in ternary weight
    networks (Li and Liu 2016, 1605.04711, equations 5 and 6): magnitudes above 0.7 of their mean
    become 1, and the scale is the mean of those.
    """
    rest = tuple(range(1, weight.ndim))
    size = weight.abs()
    if bits == 2:
        kept = (size > TERNARY * size.mean(rest, keepdim=True)).to(weight.dtype)
        scale = (size * kept).sum(rest, keepdim=True) / kept.sum(rest, keepdim=True)
        integers = weight.sign() * kept
    else:
        top = 2 ** (bits - 1) - 1
        scale = size.amax(rest, keepdim=True) / top
        integers = (weight / scale).round()
    used = scale >= TINY  # a channel of zeros has no scale of its own
    return integers.where(used, 0), scale.where(used, 1).flatten()


class _StraightThrough(torch.autograd.Function):
    """The nearest weights that integers can express; the gradient passes as if they were equal."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: int) -> Tensor:  # noqa: ARG004
        integers, scale = to_integers(weight, bits)
        return integers * spread(scale, weight.ndim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return grad, None


def round_weight(weight: Tensor, bits: int) -> Tensor:
    """The weight that the integers stand for, with the weight's own gradient."""
    rounded: Tensor = _StraightThrough.apply(weight, bits)  # type: ignore[no-untyped-call]
    return rounded


def spread(scale: Tensor, dims: int) -> Tensor:
    """O to O x 1 x ... x 1."""
    return scale.view(-1, *(1,) * (dims - 1))


def affine(low: Tensor, high: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Scale and zero point (float32 and int32 scalars) by which [low, high], which holds 0, becomes
    0 .. top."""
    scale = ((high - low) / top).float()
    scale = scale.where(scale >= TINY, 1)
    return scale, (-low / scale).round().clamp(0, top).int()


def round_input(x: Tensor, scale: Tensor, zero: Tensor, top: int) -> Tensor:
    """The activations that the integers 0 .. top stand for; the gradient passes where none was cut
    off, and is 0 elsewhere."""
    rounded: Tensor = torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, top)
    return rounded


def input_integers(x: Tensor, scale: float | Tensor, zero: int | Tensor, top: int) -> Tensor:
    """clamp(round(x / scale) + zero, 0, top), as floats."""
    return x.mul(1 / scale).add_(zero).round_().clamp_(min=0, max=top)


def pack(integers: Tensor, bits: int) -> Tensor:
    """int8, O x ..., to uint8 rows: the first number in a byte's lowest bits."""
    each = 8 // bits
    rows = integers.flatten(1).to(torch.int16) + 2 ** (bits - 1)
    rows = F.pad(rows, (0, -rows.shape[1] % each)).unflatten(1, (-1, each))
    shifts = torch.arange(0, 8, bits, dtype=torch.int16, device=rows.device)
    placed: Tensor = rows << shifts
    return placed.sum(dim=2).to(torch.uint8)


def unpack(rows: Tensor, bits: int, shape: Shape) -> Tensor:
    """int8 in `shape`, of what `pack` made."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=rows.device)
    numbers: Tensor = (rows.unsqueeze(2) >> shifts) & (2**bits - 1)
    numbers = numbers.flatten(1)[:, : prod(shape[1:])]
    signed: Tensor = numbers.to(torch.int8) - 2 ** (bits - 1)
    return signed.reshape(shape)
