"""Small convolutional networks after LeNet-5."""

from itertools import pairwise

from torch import Tensor, nn

from app.spec import networks as specs
from workers.networks.base import Net
from workers.networks.mlp import MLP


class ConvNet(Net):
    """See `app.spec.networks.ConvNet`."""

    def __init__(self, spec: specs.ConvNet) -> None:
        super().__init__(spec)
        channels = (spec.inputs[0], *spec.channels)
        self.stages = nn.Sequential(*(_stage(*ends) for ends in pairwise(channels)))
        self.head = MLP(spec.head)

    def forward(self, x: Tensor) -> Tensor:
        return self.run_head(self.run_block(self.run_trunk(x)))

    def run_trunk(self, x: Tensor) -> Tensor:
        for i in range(len(self.stages) - 1):
            x = self.stages[i](x)
        return x

    def run_block(self, h: Tensor) -> Tensor:
        features: Tensor = self.stages[-1](h)
        return features

    def run_head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(features)
        return logits


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 5, padding=2)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    # The maximum and the ReLU commute: pooling first leaves the ReLU a quarter of the work.
    return nn.Sequential(convolution, nn.MaxPool2d(2), nn.ReLU(inplace=True))
