"""VGG with BatchNorm for small images, as the CRD benchmark has it."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from app.spec import networks as specs
from workers.networks.base import GlobalMean, Net, initialise_convolutions


class VGG(Net):
    """See `app.spec.networks.VGG`."""

    def __init__(self, spec: specs.VGG) -> None:
        super().__init__(spec)
        channels = (spec.inputs[0], *(channels for _, channels in spec.blocks))
        self.block0, self.block1, self.block2, self.block3, self.block4 = (
            _block(convolutions, *ends)
            for (convolutions, _), ends in zip(spec.blocks, pairwise(channels), strict=True)
        )
        self.pool = GlobalMean()
        self.fc = nn.Linear(channels[-1], spec.classes)
        self.pools = spec.pools
        initialise_convolutions(self)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.run_head(self.run_block(self.run_trunk(x)))

    def run_trunk(self, x: Tensor) -> Tensor:
        for index, block in enumerate((self.block0, self.block1, self.block2, self.block3)):
            x = block(x)
            if index < self.pools:
                x = F.max_pool2d(x, 2)
        return x

    def run_block(self, h: Tensor) -> Tensor:
        features: Tensor = self.block4(h)
        return features

    def run_head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(features))
        return logits


def _block(convolutions: int, inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(convolutions):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
        inputs = outputs
    return nn.Sequential(*layers)
