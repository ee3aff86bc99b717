"""What inner layers make of a batch: outputs of named submodules, by forward hooks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from workers.engine.stages import Batch
from workers.networks.preprocess import Preprocessed

Features = list[Tensor]
"""One output a layer, N x its shape, in the order in which the layers were named."""


class _Reached(Exception):
    """The last wanted layer has run."""


@contextmanager
def _listening(
    network: nn.Module, names: Sequence[str], *, stop: bool
) -> Iterator[dict[str, Tensor]]:
    heard: dict[str, Tensor] = {}

    def listen(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            heard[name] = output
            if stop and len(heard) == len(set(names)):
                raise _Reached

        return hook

    # Hooks stay for one pass only, so that a network that is copied or exported has none.
    handles = [
        network.get_submodule(name).register_forward_hook(listen(name)) for name in set(names)
    ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def tapped(network: Preprocessed, inputs: Tensor, names: Sequence[str]) -> tuple[Tensor, Features]:
    """Logits (N x C) and the named layers' outputs, in one pass.

    Raises AttributeError for a layer that there is not.
    """
    with _listening(network.network, names, stop=False) as heard:
        logits: Tensor = network(inputs)
    return logits, [heard[name] for name in names]


def tapped_up_to(network: Preprocessed, inputs: Tensor, names: Sequence[str]) -> Features:
    """The named layers' outputs, without running what comes after the last of them.

    Later layers get no gradient, and their BatchNorms do not see the batch.
    """
    with _listening(network.network, names, stop=True) as heard, suppress(_Reached):
        network(inputs)
    return [heard[name] for name in names]


class LiveTeacher:
    """A frozen teacher run on the very view that a batch shows: features are not cached."""

    def __init__(self, network: Preprocessed, names: Sequence[str]) -> None:
        self.network = network
        self.names = names

    @torch.no_grad()
    def __call__(self, batch: Batch) -> tuple[Tensor, Features]:
        """Logits and features, without gradients."""
        return tapped(self.network, batch.inputs, self.names)

    @torch.no_grad()
    def up_to(self, inputs: Tensor) -> Features:
        """Features alone, without the layers above them."""
        return tapped_up_to(self.network, inputs, self.names)
