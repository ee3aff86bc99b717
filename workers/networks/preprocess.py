"""From batches as they are stored to what a network reads."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from workers.networks.base import Net


class Preprocessed(nn.Module):
    """A network that takes raw batches: `(x * scale - mean) / std`, then the network.

    `forward` takes uint8, uint16 or float, N x D, N x H x W or N x H x W x C, and computes in
    float32; the logits come in float32 whatever precision the network ran in. Image networks get
    N x C x H x W as a channels_last view, C = 1 for N x H x W; the mlp (`takes_images` false) gets
    the stored order, so an image is flattened row by row with its channels innermost.

    `mean` and `std` have one number, or one for each entry of the last stored dimension: C, or D
    for 2-D data. The factors are no part of the state: `.network.state_dict()` is the checkpoint.
    """

    network: Net
    factor: Tensor
    shift: Tensor

    def __init__(
        self,
        network: Net,
        scale: float = 1.0,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__()
        if min(std) <= 0:
            raise ValueError("every standard deviation must be positive")
        if len(mean) != len(std):
            raise ValueError(f"{len(mean)} means do not go with {len(std)} standard deviations")
        means, stds = (torch.tensor(numbers, dtype=torch.float64) for numbers in (mean, std))
        self.network = network
        self.takes_images: bool = network.takes_images
        self.register_buffer("factor", (scale / stds).float(), persistent=False)
        self.register_buffer("shift", (-means / stds).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(self.normalise(x))
        return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits

    def normalise(self, x: Tensor) -> Tensor:
        """What the network reads of a raw batch."""
        if x.ndim == 3:
            x = x.unsqueeze(-1)
        if len(self.factor) not in (1, x.shape[-1]):
            raise ValueError(
                f"{len(self.factor)} means cannot normalise a batch of shape {tuple(x.shape)}"
            )
        x = torch.addcmul(self.shift, x.float(), self.factor)
        return x.permute(0, 3, 1, 2) if self.takes_images else x
