"""What a client may and may not ask for as a network."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.spec.networks import FAMILIES, MLP, VGG, ConvNet, NetworkSpec, ResNet

ADAPTER: TypeAdapter[Any] = TypeAdapter(NetworkSpec)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_s_name_is_enough(family: str) -> None:
    spec = ADAPTER.validate_python({"family": family})
    assert type(spec) is FAMILIES[family]
    assert ADAPTER.validate_json(spec.model_dump_json()) == spec
    assert hash(ADAPTER.validate_json(spec.model_dump_json())) == hash(spec)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_is_described(family: str) -> None:
    properties = FAMILIES[family].model_json_schema()["properties"]
    assert all("description" in p for name, p in properties.items() if name != "family")


def test_the_contract_s_example() -> None:
    spec = ADAPTER.validate_python(
        {"family": "mlp", "inputs": 784, "hidden": [1200, 1200], "classes": 10, "dropout": 0.5}
    )
    assert spec.classifier == "layers.2"
    assert spec.tensors["layers.0.weight"] == (1200, 784)
    assert list(spec.taps) == ["activations.0", "activations.1"]
    assert spec.flops == 2 * (784 * 1200 + 1200 * 1200 + 1200 * 10)


@pytest.mark.parametrize(
    "hostile",
    [
        {},
        {"family": "transformer"},
        {"family": "mlp", "depth": 3},
        {"family": "mlp", "inputs": 0},
        {"family": "mlp", "inputs": 10**9},
        {"family": "mlp", "hidden": [10**9]},
        {"family": "mlp", "hidden": [1] * 1000},
        {"family": "mlp", "hidden": [0]},
        {"family": "mlp", "classes": 1},
        {"family": "mlp", "classes": 10**6},
        {"family": "mlp", "dropout": 1.0},
        {"family": "mlp", "dropout": float("nan")},
        {"family": "mlp", "max_norm": 0.0},
        {"family": "convnet", "channels": []},
        {"family": "convnet", "inputs": [1, 28]},
        {"family": "convnet", "inputs": [1, 8, 28], "channels": [4, 4, 4, 4]},
        {"family": "convnet", "inputs": [1, 2048, 2048], "channels": [4096]},
        {"family": "resnet", "depth": 21},
        {"family": "resnet", "depth": 6 * 10**9 + 2},
        {"family": "resnet", "width": 17},
        {"family": "resnet", "inputs": [3, 10**9, 32]},
        {"family": "wrn", "depth": 20},
        {"family": "wrn", "widen": 0},
        {"family": "vgg", "depth": 12},
        {"family": "vgg", "inputs": [3, 32, 7]},
    ],
    ids=repr,
)
def test_hostile_networks_are_refused(hostile: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(hostile)


def test_the_largest_network_is_traced_at_once() -> None:
    assert ResNet(depth=1202, width=16, classes=100_000).parameters > 10**9


def test_an_image_that_pools_to_nothing_is_told_so() -> None:
    with pytest.raises(ValidationError, match="8 x 28 pools to nothing in 4 stages"):
        ConvNet(inputs=(1, 8, 28), channels=(4, 4, 4, 4))
    with pytest.raises(ValidationError, match="32 x 7 pools to nothing in a vgg"):
        VGG(inputs=(3, 32, 7))


def test_which_features_a_network_accepts() -> None:
    mlp, grey, colour = MLP(inputs=784), ConvNet(inputs=(1, 28, 28)), ResNet(inputs=(3, 32, 30))
    assert all(mlp.accepts(shape) for shape in [(784,), (28, 28), (28, 28, 1), (14, 14, 4)])
    assert not mlp.accepts((785,))
    assert grey.accepts((28, 28))
    assert grey.accepts((28, 28, 1))
    assert not grey.accepts((1, 28, 28))
    assert not grey.accepts((784,))
    assert colour.accepts((32, 30, 3))
    assert not colour.accepts((30, 32, 3))
    assert not colour.accepts((32, 30))


def test_a_trace_is_made_once() -> None:
    assert ResNet(depth=8).trace() is ResNet(depth=8).trace()
    assert ResNet(depth=8).trace() is not ResNet(depth=14).trace()
