"""Wide residual networks: pre-activation blocks."""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from app.spec import networks as specs
from workers.networks.base import GlobalMean, Net, conv3x3, initialise_convolutions


class WideResNet(Net):
    """See `app.spec.networks.WideResNet`."""

    def __init__(self, spec: specs.WideResNet) -> None:
        super().__init__(spec)
        narrow, middle, wide = spec.stages
        self.conv1 = conv3x3(spec.inputs[0], 16)
        self.block1 = _stage(spec, 16, narrow, stride=1)
        self.block2 = _stage(spec, narrow, middle, stride=2)
        self.block3 = _stage(spec, middle, wide, stride=2)
        self.bn1 = nn.BatchNorm2d(wide)
        self.pool = GlobalMean()
        self.fc = nn.Linear(wide, spec.classes)
        initialise_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.run_head(self.run_block(self.run_trunk(x)))

    def run_trunk(self, x: Tensor) -> Tensor:
        shared: Tensor = self.block2(self.block1(self.conv1(x)))
        return shared

    def run_block(self, h: Tensor) -> Tensor:
        return F.relu(self.bn1(self.block3(h)), inplace=True)

    def run_head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(features))
        return logits


def _stage(spec: specs.WideResNet, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    first = PreActivationBlock(inputs, outputs, stride, spec.dropout)
    rest = (PreActivationBlock(outputs, outputs, 1, spec.dropout) for _ in range(spec.blocks - 1))
    return nn.Sequential(OrderedDict(layer=nn.Sequential(first, *rest)))


class PreActivationBlock(nn.Module):
    """BatchNorm and ReLU before each of two convolutions, beside a shortcut.

    Where the channels change, the shortcut too starts from the activated input.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.dropout = dropout
        self.convShortcut: nn.Conv2d | None = None
        if inputs != outputs:
            self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x), inplace=True)
        out: Tensor = F.relu(self.bn2(self.conv1(active)), inplace=True)
        out = self.conv2(F.dropout(out, self.dropout, self.training))
        out += x if self.convShortcut is None else self.convShortcut(active)
        return out
