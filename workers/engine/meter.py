"""Averages of a stage's terms over the logging interval, gathered on the device."""

import math

import torch
from torch import Tensor

from workers.engine.stages import Terms


class Meter:
    """Adding costs no host sync; only `flush` waits for the device."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.sums: Tensor | None = None
        self.weight = 0

    def add(self, terms: Terms, examples: int) -> None:
        """Adds a batch's means, weighted by its size."""
        values = torch.stack([term.detach().float() for term in terms.values()])
        if self.sums is None:
            self.names = tuple(terms)
            self.sums = torch.zeros_like(values)
        self.sums.add_(values, alpha=examples)
        self.weight += examples

    def flush(self) -> dict[str, float]:
        """The averages since the last flush. Raises Diverged when a turn's loss is not finite."""
        if self.sums is None or self.weight == 0:
            return {}
        means = dict(zip(self.names, (self.sums / self.weight).tolist(), strict=True))
        self.sums.zero_()
        self.weight = 0
        losses = (mean for name, mean in means.items() if f"/{name}".endswith("/loss"))
        if not all(map(math.isfinite, losses)):
            raise Diverged
        return means


class Diverged(Exception):
    """The training loss is no longer a finite number."""
