"""The modules behind `app.spec.networks`: one file a family."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import singledispatch

import torch

from app.spec import networks as specs
from workers.networks.base import Net
from workers.networks.convnet import ConvNet
from workers.networks.mlp import MLP
from workers.networks.resnet import ResNet
from workers.networks.vgg import VGG
from workers.networks.wrn import WideResNet

__all__ = ["Net", "build", "module_of", "seeded"]


@singledispatch
def module_of(spec: specs.Network) -> Net:
    """The module of a specification; `module_of.register` adds a family."""
    raise TypeError(f"no module is registered for {type(spec).__name__}")


module_of.register(specs.MLP, MLP)
module_of.register(specs.ConvNet, ConvNet)
module_of.register(specs.ResNet, ResNet)
module_of.register(specs.WideResNet, WideResNet)
module_of.register(specs.VGG, VGG)


def build(spec: specs.Network, *, seed: int | None = None) -> Net:
    """A freshly initialised network, in train mode.

    With a seed the weights depend on it alone and no global random state is touched. That holds on
    the CPU: build there and move, rather than under `torch.device("cuda")`. Under
    `torch.device("meta")` nothing is allocated.
    """
    if seed is None:
        return module_of(spec)
    with seeded(seed):
        return module_of(spec)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What is initialised on the CPU in here depends on the seed alone, and disturbs nothing."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the accelerators too, which nothing puts back.
        torch.default_generator.manual_seed(seed)
        yield
