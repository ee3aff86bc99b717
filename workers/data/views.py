"""Augmentation on whole batches: a view is a pure function of (view seed, epoch, example)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from app.spec.training import Augmentation, Flip


class Views:
    """The random views of `examples` images of one height and width.

    Images are N x H x W or N x H x W x C in any type. What an example looks like in an epoch does
    not depend on the order in which examples are visited, so teacher and student see the same.
    """

    def __init__(self, augment: Sequence[Augmentation], seed: int, examples: int) -> None:
        self.flip = any(isinstance(step, Flip) for step in augment)
        self.reach = sum(step.reach[1] for step in augment if not isinstance(step, Flip))
        self.seed = seed
        self.examples = examples
        self._epoch: int | None = None
        self._offsets = torch.empty(0)
        self._mirrored = torch.empty(0)

    @property
    def many(self) -> bool:
        """Whether epochs differ."""
        return self.flip or self.reach > 0

    def apply(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        """The views of these N images, which stand at `index` in the transfer set, in `epoch`."""
        if not self.many:
            return images
        self._draw(epoch, images.device)
        if self.reach:
            images = _cut(images, self._offsets[index], self.reach)
        if self.flip:
            mirrored = self._mirrored[index].view(-1, *[1] * (images.dim() - 1))
            images = torch.where(mirrored, images.flip(2), images)
        return images

    def _draw(self, epoch: int, device: torch.device) -> None:
        if self._epoch == epoch:
            return
        # A constant apart keeps the streams of neighbouring seeds from running into each other.
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
        span = 2 * self.reach + 1
        self._offsets = torch.randint(span, (self.examples, 2), generator=generator).to(device)
        self._mirrored = torch.randint(2, (self.examples,), generator=generator).bool().to(device)
        self._epoch = epoch


def _cut(images: Tensor, offsets_N2: Tensor, padding: int) -> Tensor:
    """Windows of the original size out of zero-padded images, each at its own offset."""
    n, height, width = images.shape[:3]
    sides = (0, 0) * (images.dim() - 3) + (padding, padding) * 2
    padded = F.pad(images, sides)
    # Every window as a strided view, then one gather: rows are copied whole.
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # N, span, span, [C], H, W
    if images.dim() == 4:
        windows = windows.movedim(3, -1)
    return windows[torch.arange(n, device=images.device), offsets_N2[:, 0], offsets_N2[:, 1]]
