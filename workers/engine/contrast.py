"""Negatives for contrastive losses: examples of other classes, drawn on the device."""

import torch
from torch import Tensor


class Negatives:
    """Uniform over the examples of other classes; without labels, over all other examples."""

    def __init__(self, labels_K: Tensor | None, examples: int, device: torch.device) -> None:
        if labels_K is not None and bool((labels_K == labels_K[0]).all()):
            labels_K = None  # a single class has no others
        self.examples = examples
        if labels_K is None:
            self._order = self._start = torch.arange(examples, device=device)
            self._size = torch.ones(examples, dtype=torch.int64, device=device)
            return
        # Sorted by class, an example's own class is one block, which a draw jumps over.
        self._order = labels_K.argsort(stable=True)
        sizes = labels_K.bincount()
        self._start = (sizes.cumsum(0) - sizes)[labels_K]
        self._size = sizes[labels_K]

    def draw(self, index_N: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """N x count positions, with replacement. `generator` lends its seed alone, so that the
        numbers are drawn where they are used."""
        device = index_N.device
        local = torch.Generator(device).manual_seed(generator.initial_seed())
        share = torch.rand(len(index_N), count, generator=local, device=device)
        others = (self.examples - self._size[index_N]).clamp(min=1)[:, None]
        place = torch.minimum((share * others).long(), others - 1)
        own = place >= self._start[index_N][:, None]
        place = place + own * self._size[index_N][:, None]
        return self._order[place.clamp(max=self.examples - 1)]
