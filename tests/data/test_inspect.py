"""A checkpoint against its network: rows 1 to 10 of the hostile inputs through the one door."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from app.spec.dataset import DatasetSpec
from app.spec.network import MLP, ResNet
from app.spec.problems import Refused
from workers.data.inspect import inspect_checkpoint, inspect_dataset
from workers.networks import build

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
