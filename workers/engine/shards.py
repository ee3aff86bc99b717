"""A transfer set dealt out to several workers."""

import torch
from torch import Tensor

from app.spec.problems import Refused
from workers.engine.stages import Batch, mix
from workers.engine.transfer import Transfer


class Shards(Transfer):
    """Gives every step a batch for each of K workers, each from its own part of the set.

    An epoch is as many steps as on the whole set: a worker passes over its shard several times, in
    a new order each time, and sees an example as the same view within an epoch.
    """

    def __init__(self, whole: Transfer, workers: int, seed: int, *, disjoint: bool = True) -> None:
        """Raises Refused (code `too_few_examples`) when a worker would get none."""
        if len(whole) < workers:
            raise Refused.invalid(
                "too_few_examples",
                f"{len(whole)} examples cannot be dealt out to {workers} workers.",
                pointer="/method/peers",
            )
        self.rows, self.inputs, self.labels = whole.rows, whole.inputs, whole.labels
        self.views = whole.views
        generator = torch.Generator().manual_seed(mix("shards", seed))
        dealt = torch.randperm(len(whole), generator=generator)
        self.shards = [dealt[k::workers] if disjoint else dealt for k in range(workers)]

    def order(self, seed: int, stage: int, epoch: int) -> Tensor:
        """N x K positions: column k is what worker k visits."""
        columns = []
        for k, shard in enumerate(self.shards):
            generator = torch.Generator().manual_seed(mix("order", seed, stage, epoch, k))
            passes = -(-len(self) // len(shard))
            visits = [shard[torch.randperm(len(shard), generator=generator)] for _ in range(passes)]
            columns.append(torch.cat(visits)[: len(self)])
        return torch.stack(columns, dim=1).to(self.device)

    def batch(self, index: Tensor, epoch: int) -> tuple[Batch, ...]:  # type: ignore[override]
        """A batch for each worker, from n x K positions."""
        return tuple(super(Shards, self).batch(column, epoch) for column in index.unbind(dim=1))
