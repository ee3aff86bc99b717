"""The transfer set: which examples are trained on, in which order, as which views."""

import torch
from torch import Tensor

from app.spec.job import Transfer as TransferSpec
from app.spec.training import Training
from workers.data.views import Views
from workers.engine.stages import Batch, mix


class Transfer:
    """A view of the train split, resident on the device."""

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor | None,
        training: Training,
        rows: Tensor | None = None,
    ) -> None:
        """`inputs` N x ..., `labels` N; `rows` (of the train split) when not all are used."""
        self.rows = rows
        self.inputs = inputs if rows is None else inputs[rows]
        self.labels = labels if rows is None or labels is None else labels[rows]
        self.views = Views(training.augment, training.view_seed, len(self.inputs))

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def device(self) -> torch.device:
        return self.inputs.device

    def order(self, seed: int, stage: int, epoch: int) -> Tensor:
        """The permutation of an epoch, on the device."""
        generator = torch.Generator().manual_seed(mix("order", seed, stage, epoch))
        return torch.randperm(len(self), generator=generator).to(self.device)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        """The examples at `index` (positions in this transfer set), as seen in `epoch`."""
        images = self.views.apply(self.inputs[index], index, epoch)
        labels = None if self.labels is None else self.labels[index]
        return Batch(images, labels, index, epoch)


def evenly(rows: int, most: int) -> Tensor:
    """At most so many positions, evenly spread over the rows: a file may be sorted by class."""
    return torch.linspace(0, rows - 1, min(rows, most), dtype=torch.float64).round().long()


def transfer_rows(labels: Tensor | None, examples: int, spec: TransferSpec) -> Tensor | None:
    """The rows of the train split that a job's transfer set keeps; None is all of them."""
    if not spec.exclude_classes and spec.fraction == 1:
        return None
    rows = torch.arange(examples)
    if spec.exclude_classes:
        assert labels is not None  # noqa: S101  (the API refuses it without labels)
        excluded = torch.tensor(spec.exclude_classes)
        rows = rows[~torch.isin(labels.cpu(), excluded)]
    if spec.fraction < 1:
        generator = torch.Generator().manual_seed(mix("fraction", spec.seed))
        kept = max(round(len(rows) * spec.fraction), 1)
        rows = rows[torch.randperm(len(rows), generator=generator)[:kept]].sort().values
    return rows
