"""A checkpoint against its network: rows 1 to 10 of the hostile inputs through the one door."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from app.spec.dataset import DatasetSpec
from app.spec.networks import MLP, ResNet
from app.spec.problems import Refused
from app.spec.quantization import Quantization
from workers.data.inspect import inspect_checkpoint, inspect_dataset
from workers.networks import build
from workers.networks.quantized import integers, rounded

Refusal = Callable[..., Refused]
SPEC = MLP(family="mlp", inputs=6, hidden=(5, 4), classes=3)


def state(spec: Any = SPEC) -> dict[str, torch.Tensor]:
    return dict(build(spec, seed=0).state_dict())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "teacher.safetensors"


def test_a_checkpoint_that_fits(path: Path) -> None:
    save_file(state(), path)
    found = inspect_checkpoint(path, SPEC, "teacher.safetensors")
    assert found["parameters"] == 6 * 5 + 5 + 5 * 4 + 4 + 4 * 3 + 3
    assert found["tensors"] == 6
    assert found["dtypes"] == ["F32"]
    assert found["bytes"] == path.stat().st_size
    assert found["taps"] == list(SPEC.taps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_fit(path: Path, dtype: torch.dtype) -> None:
    save_file({name: tensor.to(dtype) for name, tensor in state().items()}, path)
    inspect_checkpoint(path, SPEC)


def test_num_batches_tracked_may_be_absent(path: Path) -> None:
    spec = ResNet(family="resnet", depth=8)
    tensors = state(spec)
    assert any(name.endswith("num_batches_tracked") for name in tensors)
    save_file(tensors, path)
    inspect_checkpoint(path, spec)
    save_file({n: t for n, t in tensors.items() if not n.endswith("num_batches_tracked")}, path)
    inspect_checkpoint(path, spec)


def test_a_tensor_that_does_not_fit_is_422_and_named(path: Path, refusal: Refusal) -> None:
    name = next(iter(state()))
    cases: dict[str, dict[str, torch.Tensor]] = {
        "[5, 6] in the network": state() | {name: torch.zeros(6, 5)},
        "needs": {other: tensor for other, tensor in state().items() if other != name},
        "does not know": state() | {"extra.weight": torch.zeros(2)},
        "is I64": state() | {name: torch.zeros(5, 6, dtype=torch.int64)},
    }
    for words, tensors in cases.items():
        save_file(tensors, path)
        refused = refusal(inspect_checkpoint, path, SPEC)
        assert (refused.status, refused.code) == (422, "tensor_mismatch")
        assert words in refused.detail
        assert ("extra.weight" if "extra.weight" in tensors else name) in refused.detail


def test_other_names_are_told_with_where_to_look_and_what_to_do(
    path: Path, refusal: Refusal
) -> None:
    save_file({name.removeprefix("layers."): tensor for name, tensor in state().items()}, path)
    refused = refusal(inspect_checkpoint, path, SPEC)
    assert "needs 'layers.0.bias' [5]" in refused.detail
    assert "The checkpoint has '0.bias' [5]" in refused.detail
    told = refused.as_problem()["detail"]
    for step in ("`stillhouse networks mlp`", "GET /networks", "--rename OLD=NEW"):
        assert step in told


def test_non_finite_weights_and_pickles_are_refused(path: Path, refusal: Refusal) -> None:
    tensors = state()
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, path)
    assert refusal(inspect_checkpoint, path, SPEC).code == "non_finite_weights"
    torch.save(state(), path)
    assert refusal(inspect_checkpoint, path, SPEC).status == 415
    path.write_bytes(b"")
    assert refusal(inspect_checkpoint, path, SPEC, "a.safetensors").status == 422


def test_a_refused_dataset_leaves_no_file(
    tmp_path: Path, spec: Callable[..., DatasetSpec], refusal: Refusal
) -> None:
    source, out = tmp_path / "a.csv", tmp_path / "out" / "prepared"
    out.parent.mkdir()
    source.write_text("a,b,label\n1,2,0\n3,x,1\n")
    refusal(inspect_dataset, source, spec(features=["a", "b"]), out)
    assert list(out.parent.iterdir()) == []


DEEP = MLP(inputs=6, hidden=(5, 4, 4), classes=3)


def quantised(weights: int = 8, activations: int | None = 8) -> tuple[Any, dict[str, torch.Tensor]]:
    """A quantised checkpoint's metadata and tensors."""
    form = Quantization.model_validate({"weights": weights, "activations": activations})
    network = integers(rounded(build(DEEP, seed=0), form))
    return {"quantization": form.model_dump_json()}, dict(network.state_dict())


@pytest.mark.parametrize("activations", [8, 7, None])
@pytest.mark.parametrize("weights", [8, 4, 2])
def test_a_quantised_checkpoint_fits(path: Path, weights: Any, activations: Any) -> None:
    metadata, tensors = quantised(weights, activations)
    save_file(tensors, path, metadata)
    found = inspect_checkpoint(path, DEEP)
    expected = {"weights": weights, "activations": activations, "first_and_last": False}
    assert found["quantization"] == expected
    assert found["parameters"] == DEEP.parameters
    assert ("I8" if weights == 8 else "U8") in found["dtypes"]


def zeros(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype)


BAD: dict[str, tuple[str, dict[str, torch.Tensor | None], Any]] = {
    "floats for integers": ("tensor_mismatch", {"layers.1.weight": zeros(torch.float32, 4, 5)}, {}),
    "bytes for integers": ("tensor_mismatch", {"layers.1.weight": zeros(torch.uint8, 4, 5)}, {}),
    "another shape": ("tensor_mismatch", {"layers.1.weight": zeros(torch.int8, 5, 4)}, {}),
    "unpacked": ("tensor_mismatch", {}, {"weights": 4}),
    "no scale": ("tensor_mismatch", {"layers.2.weight_scale": None}, {}),
    "one scale for all": ("tensor_mismatch", {"layers.2.weight_scale": torch.ones(1)}, {}),
    "half a scale": ("tensor_mismatch", {"layers.1.weight_scale": torch.ones(4).half()}, {}),
    "a scale where none is due": ("tensor_mismatch", {"layers.0.weight_scale": torch.ones(5)}, {}),
    "no activations": ("tensor_mismatch", {}, {"activations": None}),
    "all layers": ("tensor_mismatch", {}, {"first_and_last": True}),
    "integers in the first layer": (
        "tensor_mismatch",
        {"layers.0.weight": zeros(torch.int8, 5, 6)},
        {},
    ),
    "a scale of zero": ("invalid_scale", {"layers.1.input_scale": torch.tensor(0.0)}, {}),
    "a negative scale": ("invalid_scale", {"layers.1.weight_scale": -torch.ones(4)}, {}),
    "a scale without reciprocal": (
        "invalid_scale",
        {"layers.1.input_scale": torch.tensor(1e-40)},
        {},
    ),
    "an infinite scale": (
        "non_finite_weights",
        {"layers.1.input_scale": torch.tensor(torch.inf)},
        {},
    ),
    "three bits": ("invalid_quantization", {}, {"weights": 3}),
    "an unknown field": ("invalid_quantization", {}, {"code": "import os"}),
    "no object": ("invalid_quantization", {}, []),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_quantised_checkpoint_is_422(path: Path, refusal: Refusal, case: str) -> None:
    code, change, said = BAD[case]
    metadata, tensors = quantised()
    tensors |= {name: tensor for name, tensor in change.items() if tensor is not None}
    kept = {name: t for name, t in tensors.items() if change.get(name, t) is not None}
    if said or said == []:
        form = json.loads(metadata["quantization"])
        metadata = {"quantization": json.dumps(form | said if isinstance(said, dict) else said)}
    save_file(kept, path, metadata)
    refused = refusal(inspect_checkpoint, path, DEEP)
    assert (refused.status, refused.code) == (422, code)


def test_integers_without_a_word_about_them_are_422(path: Path, refusal: Refusal) -> None:
    save_file(quantised()[1], path)
    assert refusal(inspect_checkpoint, path, DEEP).code == "tensor_mismatch"
