"""The families of networks that a client may name, and what their shapes tell.

Each family mirrors the module of its name in `workers.networks`; a test holds the two together.
"""

from typing import Annotated

from pydantic import Field

from app.spec.networks.base import MAX_INPUTS, ImageNetwork, Network
from app.spec.networks.convnet import ConvNet
from app.spec.networks.mlp import MLP
from app.spec.networks.resnet import ResNet
from app.spec.networks.vgg import VGG
from app.spec.networks.wrn import WideResNet

NetworkSpec = Annotated[
    MLP | ConvNet | ResNet | WideResNet | VGG,
    Field(discriminator="family"),
]

FAMILIES: dict[str, type[Network]] = {
    "mlp": MLP,
    "convnet": ConvNet,
    "resnet": ResNet,
    "wrn": WideResNet,
    "vgg": VGG,
}

__all__ = [
    "FAMILIES",
    "MAX_INPUTS",
    "MLP",
    "VGG",
    "ConvNet",
    "ImageNetwork",
    "Network",
    "NetworkSpec",
    "ResNet",
    "WideResNet",
]
