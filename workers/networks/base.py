"""What every network offers to the engine."""

from typing import ClassVar, cast

from torch import Tensor, nn

from app.spec.networks import Network
from app.spec.quantization import Quantization


class Net(nn.Module):
    """A classifier: `forward` takes a batch and returns its logits, N x classes.

    Image networks take N x C x H x W, best in the channels_last memory format.
    """

    takes_images: ClassVar[bool] = True

    def __init__(self, spec: Network) -> None:
        super().__init__()
        self.spec = spec
        self.quantization: Quantization | None = None
        """Where layers have integers for weights, or round towards them."""

    @property
    def classifier(self) -> nn.Linear:
        """The final layer."""
        return cast(nn.Linear, self.get_submodule(self.spec.classifier))

    def run_trunk(self, x: Tensor) -> Tensor:
        """Through the submodules of `spec.trunk`: N x inputs to what branches share."""
        raise NotImplementedError(f"{type(self).__name__} has no trunk to share")

    def run_block(self, h: Tensor) -> Tensor:
        """The last block: what the trunk made to N x C x H x W feature maps, or N x C features."""
        raise NotImplementedError(f"{type(self).__name__} has no block of its own")

    def run_head(self, features: Tensor) -> Tensor:
        """From the last block's features to logits."""
        raise NotImplementedError(f"{type(self).__name__} has no head of its own")

    def constrain(self) -> None:
        """Puts the weights back into the set they must stay in; called after each step."""


class GlobalMean(nn.Module):
    """Global average pooling: N x C x H x W to N x C."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A padded convolution without bias: a BatchNorm follows, before or after the next ReLU."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def initialise_convolutions(network: nn.Module) -> None:
    """He et al. 2015 (arXiv 1502.01852) by fan-out, zero biases, as the CIFAR papers start."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
