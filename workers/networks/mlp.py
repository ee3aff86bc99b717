"""Fully connected ReLU networks."""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from app.spec import networks as specs
from workers.networks.base import Net
from workers.networks.dropout import dropout
from workers.networks.linear import Linear


class MLP(Net):
    """Flattens its input from dimension 1 on; see `app.spec.networks.MLP`."""

    takes_images = False

    def __init__(self, spec: specs.MLP) -> None:
        super().__init__(spec)
        widths = (spec.inputs, *spec.hidden, spec.classes)
        self.layers = nn.ModuleList(Linear(*ends) for ends in pairwise(widths))
        self.activations = nn.ModuleList(nn.ReLU(inplace=True) for _ in spec.hidden)
        self.dropout = spec.dropout
        self.input_dropout = spec.input_dropout
        self.max_norm = spec.max_norm
        for name, parameter in self.layers.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return self.run_head(self.run_block(self.run_trunk(x)))

    def run_trunk(self, x: Tensor) -> Tensor:
        x = dropout(x.flatten(1), self.input_dropout, self.training)
        return self._hidden(x, range(len(self.activations) - 1))

    def run_block(self, h: Tensor) -> Tensor:
        last = len(self.activations) - 1
        return self._hidden(h, range(max(last, 0), last + 1))

    def run_head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layers[-1](features)
        return logits

    def _hidden(self, x: Tensor, which: Iterable[int]) -> Tensor:
        for i in which:
            x = dropout(self.activations[i](self.layers[i](x)), self.dropout, self.training)
        return x

    @torch.no_grad()
    def constrain(self) -> None:
        """Rescales each hidden unit whose incoming weights are longer than `max_norm`."""
        if self.max_norm is not None:
            for layer in self.layers[:-1]:
                if isinstance(layer, Linear):  # a branch has none below the trunk
                    layer.weight.renorm_(2, 0, self.max_norm)
