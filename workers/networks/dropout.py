"""Dropout with a mask that is cheap to draw.

On the CPU PyTorch draws one number an element, in one thread: 15 ns each, half of a step of a
1200-1200 network. Here one draw of 64 bits makes four elements of the mask.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 2**16


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """As `F.dropout`. On the CPU `rate` is rounded to 1/65536, and survivors are scaled to fit."""
    if not training or rate == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, rate, training=True)
    kept = max(round((1 - rate) * LEVELS), 1)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    mask = draws.view(torch.int16)[: x.numel()] < kept - LEVELS // 2
    return x * mask.view(x.shape).to(x.dtype).mul_(LEVELS / kept)
