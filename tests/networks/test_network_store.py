"""Networks on disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from app.spec.networks import MLP, Network, ResNet
from workers.networks import build
from workers.networks.store import CheckpointError, load_network, save_network

SMALL = MLP(inputs=6, hidden=(5, 4), classes=3)


@pytest.mark.parametrize("spec", [SMALL, ResNet(depth=8, inputs=(1, 8, 8))], ids=repr)
def test_a_round_trip_keeps_every_byte(spec: Network, tmp_path: Path) -> None:
    module = build(spec, seed=3)
    module(torch.randn(4, *spec.input_shape))  # moves BatchNorm's buffers, if any
    metadata = {f"key {i}": f'é{i}\n\x01"' for i in range(8)}
    save_network(module, tmp_path / "first", metadata)
    loaded = load_network(spec, tmp_path / "first")
    save_network(loaded.to(memory_format=torch.channels_last), tmp_path / "second", metadata)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()

    state = module.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())
    assert all(p.requires_grad for p in loaded.parameters())
    with safe_open(tmp_path / "first", framework="pt") as file:
        assert file.metadata() == metadata
        assert file.keys() == sorted(state)


def test_weights_are_stored_and_read_as_told(tmp_path: Path) -> None:
    module = build(ResNet(depth=8), seed=3)
    save_network(module, tmp_path / "half", dtype=torch.float16)
    loaded = load_network(ResNet(depth=8), tmp_path / "half")
    assert loaded.fc.weight.dtype == torch.float32
    assert torch.equal(loaded.fc.weight, module.fc.weight.half().float())
    assert loaded.bn1.num_batches_tracked.dtype == torch.int64


def test_a_checkpoint_without_counters_is_read(tmp_path: Path) -> None:
    """As inspections accept it: a teacher that is ready must also teach."""
    module = build(ResNet(depth=8), seed=3)
    weights = {n: t for n, t in module.state_dict().items() if not n.endswith("batches_tracked")}
    save_file(weights, tmp_path / "old")
    loaded = load_network(ResNet(depth=8), tmp_path / "old").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())
    assert loaded["bn1.num_batches_tracked"] == 0


def test_numpy_alone_runs_an_mlp(tmp_path: Path) -> None:
    module = build(SMALL, seed=3)
    save_network(module, tmp_path / "net")

    blob = (tmp_path / "net").read_bytes()
    start = 8 + int.from_bytes(blob[:8], "little")
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for name, entry in json.loads(blob[8:start]).items():
        first, last = entry["data_offsets"]
        flat = np.frombuffer(blob[start + first : start + last], dtype="<f4")
        tensors[name] = flat.reshape(entry["shape"])
    x = inputs = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
    for i in range(3):
        x = x @ tensors[f"layers.{i}.weight"].T + tensors[f"layers.{i}.bias"]
        x = np.maximum(x, 0) if i < 2 else x

    expected = module(torch.from_numpy(inputs)).detach().numpy()
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"layers.1.weight": torch.zeros(4, 6)},
            "'layers.1.weight' is 4 x 6 in the file, but 4 x 5 in this mlp",
        ),
        ({"layers.1.bias": torch.zeros(())}, "'layers.1.bias' is a scalar in the file, but 4 in"),
        ({"layers.2.bias": None}, "'layers.2.bias' (3) is missing from the file"),
        (
            {"layers.2.bias": None, "layers.0.bias": None},
            "'layers.0.bias' (5) and 1 more are missing",
        ),
        ({"fc.weight": torch.zeros(3, 4)}, "'fc.weight' (3 x 4) is unknown to this mlp"),
        (
            {"layers.0.bias": torch.zeros(5, dtype=torch.int8)},
            "'layers.0.bias' is stored as I8, but float32 is due",
        ),
    ],
)
def test_a_file_that_does_not_fit(
    change: dict[str, torch.Tensor | None], message: str, tmp_path: Path
) -> None:
    state = {**build(SMALL).state_dict(), **change}
    save_file({name: t for name, t in state.items() if t is not None}, tmp_path / "net")
    with pytest.raises(CheckpointError) as caught:
        load_network(SMALL, tmp_path / "net")
    assert message in str(caught.value)


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "net").write_bytes(b"PK\x03\x04 a pickle in a zip")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_network(SMALL, tmp_path / "net")
