"""From a network to one that trains through rounding, to one of integers, and back."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from app.spec.quantization import Quantization
from workers.networks import build
from workers.networks.base import Net
from workers.networks.integers import IntegerConv, IntegerLinear, Integers
from workers.networks.rounded import RoundedConv, RoundedLinear
from workers.networks.rounding import affine, pack, to_integers


def rounded(network: Net, quantization: Quantization) -> Net:
    """A copy whose quantised layers round as they train. The ranges of their inputs are unset."""

    def made(layer: nn.Module) -> nn.Module:
        if isinstance(layer, nn.Conv2d):
            return RoundedConv.of(layer, quantization)
        assert isinstance(layer, nn.Linear)  # noqa: S101
        return RoundedLinear.of(layer, quantization)

    return _changed(copy.deepcopy(network), quantization, made)


def emptied(network: Net, quantization: Quantization) -> Net:
    """The network itself, its quantised layers replaced by ones of integers, still unset."""
    return _changed(network, quantization, lambda layer: _unset(layer, quantization))


@torch.no_grad()
def integers(network: Net) -> Net:
    """A copy of a rounded network with integers for its weights: the same function but for the
    order of sums."""
    quantization = network.quantization
    assert quantization is not None  # noqa: S101

    def made(layer: nn.Module) -> nn.Module:
        assert isinstance(layer, RoundedLinear | RoundedConv)  # noqa: S101
        empty = _unset(layer, quantization)
        weight, scale = to_integers(layer.weight, layer.bits)
        weight = weight.to(torch.int8)
        empty.weight.copy_(weight if layer.bits == 8 else pack(weight, layer.bits))
        empty.weight_scale.copy_(scale)
        if empty.bias is not None and layer.bias is not None:
            empty.bias.copy_(layer.bias)
        if layer.top is not None:
            input_scale, zero = affine(layer.low, layer.high, layer.top)
            empty.input_scale.copy_(input_scale)
            empty.input_zero.copy_(zero)
        return empty.train(layer.training)

    return _changed(copy.deepcopy(network), quantization, made)


@torch.no_grad()
def floats(network: Net) -> Net:
    """The network itself, or one with the floats that its integers stand for, which can train. Its
    activations are not rounded."""
    if network.quantization is None:
        return network
    state = network.state_dict()
    made = build(network.spec, seed=0).to(next(iter(state.values())).device)
    for name, tensor in made.state_dict().items():
        layer = network.get_submodule(name.rpartition(".")[0])
        if isinstance(layer, Integers) and name.endswith(".weight"):
            tensor.copy_(layer.floats())
        else:
            tensor.copy_(state[name])
    return made


def _changed(
    network: Net, quantization: Quantization, made: Callable[[nn.Module], nn.Module]
) -> Net:
    for name in quantization.layers(network.spec):
        network.set_submodule(name, made(network.get_submodule(name)))
    network.quantization = quantization
    return network


def _unset(layer: nn.Module, quantization: Quantization) -> IntegerLinear | IntegerConv:
    assert isinstance(layer, nn.Linear | nn.Conv2d)  # noqa: S101
    shape, bias = tuple(layer.weight.shape), layer.bias is not None
    with torch.device(layer.weight.device):
        if isinstance(layer, nn.Linear):
            return IntegerLinear(shape, quantization, bias=bias)
        stride, padding = layer.stride, layer.padding
        assert not isinstance(padding, str)  # noqa: S101
        return IntegerConv(shape, quantization, bias=bias, stride=stride, padding=padding)
