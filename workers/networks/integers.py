"""Layers whose weights are integers, in memory and on disk.

Where activations are rounded too, products run in integers by oneDNN's kernels. Without VNNI
instructions these add two products in 16 bits, which the largest 8-bit weights and activations
overflow; there, on accelerators and where there are no such kernels, the same integers are
multiplied as floats, a layer's at a time. The sums are the same either way while they stay below
2^24.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.spec.quantization import Quantization, packed
from app.spec.shapes import Shape
from workers.networks.rounding import input_integers, spread, unpack

onednn = torch.ops.onednn

KernelWeight = tuple[Tensor, Tensor, Tensor]
"""The weights as a kernel wants them, their scales, and their zero points."""


@cache
def kernels_keep() -> int:
    """The largest sum of two neighbouring products that this CPU's integer kernels get right; 0
    where there are none."""
    q = torch.full((1, 64), 255, dtype=torch.uint8)

    def right(weight: int) -> bool:
        layer = onednn.qlinear_prepack(torch.full((16, 64), weight, dtype=torch.int8), None)
        weights = (layer, torch.ones(16), torch.zeros(16, dtype=torch.int8))
        made = _linear(q, 1.0, 0, weights, None)
        return bool((made == 64 * 255 * weight).all())

    try:
        if not right(64):
            return 0
        return 2**31 - 1 if right(-128) else 2**15 - 1
    except (AttributeError, RuntimeError):
        return 0


class Integers(nn.Module):
    """What layers of integers share. Their weights do not change once the layer has run."""

    weight: Tensor
    weight_scale: Tensor
    input_scale: Tensor
    input_zero: Tensor

    def __init__(self, shape: Shape, quantization: Quantization, *, bias: bool) -> None:
        """`shape` is the weight's, O x ..., as floats have it. The tensors are left unset."""
        super().__init__()
        self.shape, self.bits, self.top = shape, quantization.weights, quantization.top
        numbers = torch.Size(shape[1:]).numel()
        weight = (
            torch.empty(shape, dtype=torch.int8)
            if self.bits == 8
            else torch.empty(shape[0], packed(numbers, self.bits), dtype=torch.uint8)
        )
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", torch.empty(shape[0]))
        self.bias = nn.Parameter(torch.empty(shape[0]), requires_grad=False) if bias else None
        if self.top is not None:
            self.register_buffer("input_scale", torch.empty(()))
            self.register_buffer("input_zero", torch.empty((), dtype=torch.uint8))
        self._ready: tuple[float, int, KernelWeight | None] | None = None

    def integers(self) -> Tensor:
        """The weights, int8 in the shape that floats have."""
        return self.weight if self.bits == 8 else unpack(self.weight, self.bits, self.shape)

    def floats(self) -> Tensor:
        """The weights that the integers stand for."""
        return self.integers().float() * spread(self.weight_scale, len(self.shape))

    @property
    def multiplies_integers(self) -> bool:
        """Whether this CPU multiplies this layer's integers as such, exactly."""
        return self.top is not None and 2 * self.top * 2 ** (self.bits - 1) <= kernels_keep()

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.top is None:
            return self._as_floats(x, self.weight_scale)
        if torch.compiler.is_compiling():  # an exported graph holds portable operators only
            q = input_integers(x, self.input_scale, self.input_zero, self.top)
            return self._as_floats(q - self.input_zero, self.weight_scale * self.input_scale)
        if self._ready is None:
            self._ready = self._make_ready()
        scale, zero, weight = self._ready
        q = input_integers(x, scale, zero, self.top)
        if weight is None:
            return self._as_floats(q.sub_(zero), self.weight_scale * scale)
        return self._multiply(q.to(torch.uint8), scale, zero, weight)

    def _make_ready(self) -> tuple[float, int, KernelWeight | None]:
        scale, zero = float(self.input_scale), int(self.input_zero)
        if self.weight.device.type != "cpu" or not self.multiplies_integers:
            return scale, zero, None
        no_zeros = torch.zeros(self.shape[0], dtype=torch.int8)
        return scale, zero, (self._prepare(scale, zero), self.weight_scale, no_zeros)

    def _as_floats(self, x: Tensor, scale: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            y = self._product(x, self.integers().float()) * spread(scale, x.ndim - 1)
        return y if self.bias is None else y + spread(self.bias, x.ndim - 1)

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        raise NotImplementedError

    def _prepare(self, scale: float, zero: int) -> Tensor:
        """The weights as the kernel wants them."""
        raise NotImplementedError

    def _multiply(self, q: Tensor, scale: float, zero: int, weight: KernelWeight) -> Tensor:
        raise NotImplementedError

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "Integers":
        self._ready = None
        return cast("Integers", super()._apply(fn, recurse))  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ready": None}  # what kernels want cannot be copied


class IntegerLinear(Integers):
    """A linear layer of integers."""

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight)

    def _prepare(self, scale: float, zero: int) -> Tensor:  # noqa: ARG002
        return cast(Tensor, onednn.qlinear_prepack(self.integers(), None))

    def _multiply(self, q: Tensor, scale: float, zero: int, weight: KernelWeight) -> Tensor:
        return _linear(q, scale, zero, weight, self.bias)


class IntegerConv(Integers):
    """A convolution of integers."""

    def __init__(
        self,
        shape: Shape,
        quantization: Quantization,
        *,
        bias: bool,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
    ) -> None:
        super().__init__(shape, quantization, bias=bias)
        self.stride, self.padding = stride, padding

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, stride=self.stride, padding=self.padding)

    def _prepare(self, scale: float, zero: int) -> Tensor:
        weight = self.integers(), self.weight_scale
        return cast(Tensor, onednn.qconv_prepack(*weight, scale, zero, *self._geometry, None))

    def _multiply(self, q: Tensor, scale: float, zero: int, weight: KernelWeight) -> Tensor:
        q = q.contiguous(memory_format=torch.channels_last)
        rest: Any = (self.bias, *self._geometry, 1.0, 0, torch.float32, "none", [], "")
        return cast(Tensor, onednn.qconv_pointwise(q, scale, zero, *weight, *rest))

    @property
    def _geometry(self) -> tuple[list[int], list[int], list[int], int]:
        return list(self.stride), list(self.padding), [1, 1], 1


def _linear(
    q: Tensor, scale: float, zero: int, weight: KernelWeight, bias: Tensor | None
) -> Tensor:
    rest: Any = (bias, 1.0, 0, torch.float32, "none", [], "")
    return cast(Tensor, onednn.qlinear_pointwise(q, scale, zero, *weight, *rest))
