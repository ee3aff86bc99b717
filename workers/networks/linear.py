"""A linear layer that picks the faster exact kernel.

On the CPU PyTorch gives float32 matrix products to MKL. With AVX-512 its kernels for narrow
batches reach two thirds of oneDNN's rate on processors that are not Intel's (batch 128, 800 x 800:
146 against 223 GFLOP/s for the inputs' gradient, 154 against 179 forward); with AVX2 alone MKL's
are the faster ones (160 against 130). Both compute in float32; they differ by the order of sums
alone, and the kind of processor decides, so that a resumed run computes the same bits.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WORTHWHILE = 128 * 128
"""Weights of a layer from which the kernel's gain outweighs the cost of calling it."""

ONEDNN_IS_FASTER = torch.backends.cpu.get_cpu_capability() == "AVX512"


class Linear(nn.Linear):
    """`nn.Linear`, and the same numbers but for rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """N x in -> N x out."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b, N x in -> N x out."""
    if weight.numel() < WORTHWHILE or not _onednn_takes(x):
        return F.linear(x, weight, bias)
    out: Tensor = _OneDNN.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return out


def _onednn_takes(x: Tensor) -> bool:
    return (
        ONEDNN_IS_FASTER
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.ndim == 2
        and bool(torch.backends.mkldnn.enabled)
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()  # an exported graph holds portable operators only
    )


class _OneDNN(torch.autograd.Function):
    """x W^T + b. The weight's gradient stays with MKL, which is as fast there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Of operations that can be differentiated again."""
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _OneDNN.apply(grad, weight.t(), None) if needs_x else None,  # type: ignore[no-untyped-call]
            grad.t().mm(x) if needs_weight else None,
            grad.sum(dim=0) if needs_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out
