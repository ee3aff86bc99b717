"""Layers that train at full precision and compute as their integer form will.

Weights and inputs are rounded on every pass; gradients go straight through the rounding
(Bengio, Leonard and Courville 2013, 1308.3432).
"""

from typing import Any, Self

import torch
from torch import Tensor, nn

from app.spec.quantization import Quantization
from workers.networks.linear import Linear, linear
from workers.networks.rounding import affine, round_input, round_weight

MOMENTUM = 0.1
"""Of the running range, as of BatchNorm's running statistics."""


class Rounded(nn.Module):
    """What rounded layers share; the range of their input is a buffer.

    In train mode the range follows each batch's; while `observing` it grows to hold all that is
    seen. It always holds 0, which padding and ReLUs need exactly.
    """

    weight: Tensor
    low: Tensor
    high: Tensor
    observing = False

    def begin(self, quantization: Quantization, device: torch.device) -> None:
        self.bits, self.top = quantization.weights, quantization.top
        if self.top is not None:
            for name in ("low", "high"):
                self.register_buffer(name, torch.zeros((), device=device))

    def rounded_weight(self) -> Tensor:
        return round_weight(self.weight, self.bits)

    def rounded_input(self, x: Tensor) -> Tensor:
        if self.top is None:
            return x
        if x.dtype in (torch.float16, torch.bfloat16):  # what autocast made of the layer before
            x = x.float()
        if self.training or self.observing:
            self._watch(x.detach())
        return round_input(x, *affine(self.low, self.high, self.top), self.top)

    @torch.no_grad()
    def _watch(self, x: Tensor) -> None:
        low, high = x.aminmax()
        low, high = low.clamp(max=0), high.clamp(min=0)
        if self.observing:
            self.low.copy_(torch.minimum(self.low, low))
            self.high.copy_(torch.maximum(self.high, high))
        else:
            # The first batch is taken whole; without a branch, which would wait for the device.
            rate = torch.where(self.high > self.low, MOMENTUM, 1.0)
            self.low.lerp_(low, rate)
            self.high.lerp_(high, rate)


class RoundedLinear(Rounded, Linear):
    """A linear layer, rounded."""

    @classmethod
    def of(cls, layer: nn.Linear, quantization: Quantization) -> Self:
        """Shares its parameters."""
        with torch.device("meta"):
            made = cls(layer.in_features, layer.out_features)
        made.weight, made.bias = layer.weight, layer.bias
        made.begin(quantization, layer.weight.device)
        return made.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        return linear(self.rounded_input(x), self.rounded_weight(), self.bias)


class RoundedConv(Rounded, nn.Conv2d):
    """A convolution, rounded."""

    @classmethod
    def of(cls, layer: nn.Conv2d, quantization: Quantization) -> Self:
        """Shares its parameters."""
        geometry: Any = layer.kernel_size, layer.stride, layer.padding
        with torch.device("meta"):
            made = cls(layer.in_channels, layer.out_channels, *geometry)
        made.weight, made.bias = layer.weight, layer.bias
        made.begin(quantization, layer.weight.device)
        return made.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self._conv_forward(self.rounded_input(x), self.rounded_weight(), self.bias)
        return made
