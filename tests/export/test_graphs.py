"""Exported students compute what the student computes, wherever they are run."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

from app.spec.networks import MLP, VGG, ConvNet, Network, ResNet, WideResNet
from app.spec.problems import Refused
from workers.export.graphs import export_student
from workers.networks import build
from workers.networks.preprocess import Preprocessed
from workers.networks.store import save_network

NAMES = ["no", "yes"]


def facts(shape: list[int], dtype: str = "uint8", channels: int = 1) -> dict[str, Any]:
    """What network.json says beside the network."""
    constants = {"scale": 1 / 255, "mean": [0.3] * channels, "std": [0.2] * channels}
    taken = {"shape": shape, "dtype": dtype}
    return {"preprocess": constants, "class_names": NAMES, "input": taken}


IMAGES = facts([8, 8])
CASES: list[Any] = [
    pytest.param(MLP(inputs=64, hidden=(300,), classes=2), IMAGES, id="mlp on images"),
    pytest.param(
        MLP(inputs=5, hidden=(4,), classes=2), facts([5], "float32", channels=5), id="mlp on rows"
    ),
    pytest.param(
        ConvNet(inputs=(1, 8, 8), channels=(4,), hidden=(8,), classes=2), IMAGES, id="convnet"
    ),
    pytest.param(
        ConvNet(inputs=(1, 8, 8), channels=(4,), hidden=(), classes=2),
        facts([8, 8], "uint16"),
        id="convnet on uint16",
        marks=pytest.mark.slow,
    ),
    *(
        pytest.param(spec, facts([32, 32, 3], channels=3), id=spec.family, marks=pytest.mark.slow)
        for spec in (
            ResNet(depth=8, classes=2),
            WideResNet(depth=10, widen=1, classes=2),
            VGG(classes=2),
        )
    ),
]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return tmp_path / "student.safetensors"


def exported(spec: Network, about: dict[str, Any], weights: Path, format_: str) -> Path:
    out = weights.with_suffix(f".{format_}")
    export_student(spec, weights, about, format_, out)
    return out


def batch(about: dict[str, Any], size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(0, 256, (size, *about["input"]["shape"]), generator=generator)
    return drawn.to(getattr(torch, about["input"]["dtype"]))


@pytest.mark.parametrize(("spec", "about"), CASES)
def test_they_agree_with_the_student(spec: Network, about: dict[str, Any], weights: Path) -> None:
    network = build(spec, seed=2)
    save_network(network, weights)
    student = Preprocessed(network, **about["preprocess"]).eval()
    session = onnxruntime.InferenceSession(exported(spec, about, weights, "onnx"))
    program = torch.export.load(exported(spec, about, weights, "pt2")).module()
    for size in (1, 7):
        x = batch(about, size)
        with torch.inference_mode():
            expected = student(x)
            torch.testing.assert_close(program(x), expected, rtol=1e-4, atol=1e-5)
        (told,) = session.run(None, {"input": x.numpy()})
        np.testing.assert_allclose(told, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_they_say_what_they_take_and_nothing_of_this_machine(weights: Path) -> None:
    spec = MLP(inputs=64, hidden=(4,), classes=2)
    save_network(build(spec, seed=2), weights)
    made = {name: exported(spec, IMAGES, weights, name) for name in ("onnx", "pt2")}
    model = onnx.load(made["onnx"])
    (taken,) = model.graph.input
    assert [dim.dim_param or dim.dim_value for dim in taken.type.tensor_type.shape.dim] == [
        "batch",
        8,
        8,
    ]
    told = {prop.key: json.loads(prop.value) for prop in model.metadata_props}
    assert told["class_names"] == NAMES
    extra = {"about.json": ""}
    torch.export.load(made["pt2"], extra_files=extra)
    assert json.loads(extra["about.json"]) == told
    for path in made.values():
        content = path.read_bytes()
        assert str(Path(__file__).parents[2]).encode() not in content
        again = exported(spec, IMAGES, weights, path.suffix[1:])
        assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(content).digest()


@pytest.mark.parametrize("format_", ["onnx", "pt2"])
def test_integer_weights_do_not_fit(format_: str, weights: Path) -> None:
    spec = MLP(inputs=64, hidden=(4,), classes=2)
    save_network(build(spec, seed=2), weights)
    tensors = load_file(weights)
    tensors["layers.0.weight"] = tensors["layers.0.weight"].to(torch.int8)
    save_file(tensors, weights)
    with pytest.raises(Refused) as refused:
        exported(spec, IMAGES, weights, format_)
    assert refused.value.code == "format_does_not_fit"
    assert not weights.with_suffix(f".{format_}").exists()
