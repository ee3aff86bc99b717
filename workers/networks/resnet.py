"""Residual networks for small images, as the CRD benchmark has them."""

import torch.nn.functional as F
from torch import Tensor, nn

from app.spec import networks as specs
from workers.networks.base import GlobalMean, Net, conv3x3, initialise_convolutions


class ResNet(Net):
    """See `app.spec.networks.ResNet`."""

    def __init__(self, spec: specs.ResNet) -> None:
        super().__init__(spec)
        narrow, middle, wide = spec.stages
        self.conv1 = conv3x3(spec.inputs[0], spec.stem)
        self.bn1 = nn.BatchNorm2d(spec.stem)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(spec.blocks, spec.stem, narrow, stride=1)
        self.layer2 = _stage(spec.blocks, narrow, middle, stride=2)
        self.layer3 = _stage(spec.blocks, middle, wide, stride=2)
        self.pool = GlobalMean()
        self.fc = nn.Linear(wide, spec.classes)
        initialise_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.run_head(self.run_block(self.run_trunk(x)))

    def run_trunk(self, x: Tensor) -> Tensor:
        shared: Tensor = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
        return shared

    def run_block(self, h: Tensor) -> Tensor:
        features: Tensor = self.layer3(h)
        return features

    def run_head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(features))
        return logits


def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    rest = (BasicBlock(outputs, outputs, stride=1) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *rest)


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut, and a ReLU on their sum."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return F.relu(out, inplace=True)
