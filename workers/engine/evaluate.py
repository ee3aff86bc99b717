"""Networks on held-out examples."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from workers.engine.device import Arithmetic
from workers.engine.losses import hard_loss, wide

BATCH = 512


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Every module in eval mode, and afterwards each back in the mode it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """BatchNorms go on normalising by the batch, and remember none of it."""
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def predict(network: nn.Module, inputs: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Logits N x C in float32, on the inputs' device."""
    with eval_mode(network), torch.inference_mode(), arithmetic():
        return torch.cat([wide(network(part)) for part in inputs.split(BATCH)])


def validation_metrics(
    logits: Tensor, labels: Tensor | None, teacher_classes: Tensor | None
) -> dict[str, float]:
    """loss and accuracy where there are labels, agreement where there is a teacher; with both, how
    often that one is right itself, which is the line that a student is seen against."""
    metrics = {}
    classes = logits.argmax(dim=1)
    if labels is not None:
        metrics["validation/loss"] = float(hard_loss(logits, labels))
        metrics["validation/accuracy"] = float((classes == labels).float().mean())
    if teacher_classes is not None:
        metrics["validation/agreement"] = float((classes == teacher_classes).float().mean())
        if labels is not None:
            metrics["validation/teacher_accuracy"] = float(
                (teacher_classes == labels).float().mean()
            )
    return metrics
