"""Networks of integers: what they compute, hold and store."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from app.spec.networks import MLP, VGG, ConvNet, Network, ResNet, WideResNet
from app.spec.quantization import Quantization, stored
from workers.networks import Net, build
from workers.networks import integers as layers
from workers.networks.integers import IntegerConv, IntegerLinear, Integers
from workers.networks.quantized import floats, integers, rounded
from workers.networks.rounded import Rounded
from workers.networks.store import CheckpointError, load_network, save_network

WIDE = MLP(inputs=40, hidden=(64, 33, 16), classes=5)
NETWORKS = [
    WIDE,
    ConvNet(inputs=(1, 12, 12), channels=(6, 7), hidden=(20,)),
    ResNet(depth=8, inputs=(3, 8, 8)),
    WideResNet(depth=10, inputs=(3, 8, 8)),
    VGG(inputs=(3, 8, 8)),
]
ALL = Quantization(first_and_last=True)
FORMS = [Quantization(weights=w, activations=a) for w in (8, 4, 2) for a in (8, 7, None)]


def quantised(spec: Network, quantization: Quantization, *, seed: int = 3) -> tuple[Net, Net]:
    """A rounding network whose ranges are those of some examples, and its integers."""
    network = rounded(build(spec, seed=seed), quantization)
    network(examples(spec, 64))  # in train mode: ranges and BatchNorms
    return network.eval(), integers(network).eval()


def examples(spec: Network, count: int, *, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, *spec.input_shape), generator=generator)


def by_hand(layer: Integers, x: Tensor) -> Tensor:
    """In float64, from the stored tensors alone."""
    weight = layer.integers().double()
    read = x.double()
    factor = layer.weight_scale.double()
    if layer.top is not None:
        q = (x * (1 / layer.input_scale.item())).double() + layer.input_zero.double()
        read = q.round().clamp(0, layer.top) - layer.input_zero.double()
        factor = factor * layer.input_scale.double()
    if isinstance(layer, IntegerLinear):
        return F.linear(read, weight) * factor + layer.bias.double()
    assert isinstance(layer, IntegerConv)
    made = F.conv2d(read, weight, stride=layer.stride, padding=layer.padding)
    made = made * factor[:, None, None]
    return made if layer.bias is None else made + layer.bias.double()[:, None, None]


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "floats"])
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("spec", [WIDE, NETWORKS[2]], ids=["mlp", "resnet"])
def test_layers_compute_what_their_tensors_say(
    spec: Network, form: Quantization, kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels:
        monkeypatch.setattr(layers, "kernels_keep", lambda: 0)
    form = form.model_copy(update={"first_and_last": True})
    _, network = quantised(spec, form)
    seen: list[tuple[Integers, Tensor, Tensor]] = []
    for module in network.modules():
        if isinstance(module, Integers):
            module.register_forward_hook(lambda m, x, y: seen.append((m, x[0], y.clone())))
    network(10 * examples(spec, 9))  # far out of the ranges, too
    assert len(seen) == len(form.layers(spec))
    for layer, x, y in seen:
        torch.testing.assert_close(y.double(), by_hand(layer, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 128])
@pytest.mark.parametrize("activations", [8, 7])
def test_the_largest_integers_do_not_overflow(rows: int, activations: int) -> None:
    """Kernels without VNNI add two products in 16 bits: 2 x 255 x 127 does not fit."""
    layer = IntegerLinear((32, 256), Quantization(activations=activations), bias=True)
    layer.weight.fill_(127)
    layer.weight[1] = -128
    for tensor in (layer.weight_scale, layer.input_scale):
        tensor.fill_(1)
    layer.bias.fill_(0.5)
    layer.input_zero.fill_(0)
    top = 2**activations - 1
    made = layer(torch.full((rows, 256), 1000.0))
    assert (made[:, 0] == 256 * top * 127 + 0.5).all()
    assert (made[:, 1] == -256 * top * 128 + 0.5).all()


@pytest.mark.parametrize(
    "form", [Quantization(), Quantization(weights=2, activations=None)], ids=str
)
@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: spec.family)
def test_integers_are_the_function_that_rounding_trained(spec: Network, form: Quantization) -> None:
    rounding, network = quantised(spec, form)
    x = examples(spec, 20)
    with torch.no_grad():
        # Another order of sums can tip an activation to the next integer, now and then.
        close = torch.isclose(network(x), rounding(x), rtol=1e-3, atol=1e-3)
    assert close.float().mean() > 0.9


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_an_example_s_logits_do_not_depend_on_its_batch(form: Quantization) -> None:
    _, network = quantised(ConvNet(inputs=(1, 12, 12), channels=(6, 7)), form)
    first = network.stages(examples(network.spec, 30))
    alone = network.stages(examples(network.spec, 30)[:1])
    torch.testing.assert_close(first[:1], alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: spec.family)
def test_the_first_and_last_layers_stay_floats_unless_asked_for(spec: Network) -> None:
    names = [n.removesuffix(".weight") for n, s in spec.tensors.items() if len(s) > 1]
    assert ALL.layers(spec) == tuple(names)
    assert Quantization().layers(spec) == tuple(names[1:-1])
    assert names[-1] == spec.classifier
    network = rounded(build(spec), Quantization())
    found = [name for name, module in network.named_modules() if isinstance(module, Rounded)]
    assert set(found) == set(names[1:-1])
    assert not isinstance(network.get_submodule(names[0]), Rounded)
    assert not isinstance(network.classifier, Rounded)


@pytest.mark.parametrize("form", [*FORMS, ALL], ids=str)
@pytest.mark.parametrize("spec", [WIDE, NETWORKS[1], NETWORKS[2]], ids=lambda spec: spec.family)
def test_a_file_holds_integers_and_gives_the_same_logits(
    spec: Network, form: Quantization, tmp_path: Path
) -> None:
    _, network = quantised(spec, form)
    save_network(network, tmp_path / "first")
    loaded = load_network(spec, tmp_path / "first").eval()
    save_network(loaded, tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert loaded.quantization == form
    x = examples(spec, 11)
    assert torch.equal(loaded(x), network(x))

    due = stored(spec, form)
    with safe_open(tmp_path / "first", framework="pt") as file:
        assert set(file.keys()) == due.keys()
        for name, tensor in due.items():
            entry = file.get_slice(name)
            assert tuple(entry.get_shape()) == tensor.shape
            assert entry.get_dtype() in tensor.accepted


@pytest.mark.parametrize(("bits", "share"), [(8, 0.27), (4, 0.14), (2, 0.08)])
def test_a_file_is_as_much_smaller_as_its_numbers(bits: int, share: float, tmp_path: Path) -> None:
    spec = MLP(inputs=64, hidden=(256, 256, 256), classes=10)
    form = Quantization(weights=bits, first_and_last=True)
    save_network(build(spec, seed=0), tmp_path / "floats")
    save_network(quantised(spec, form)[1], tmp_path / "integers")
    sizes = [(tmp_path / name).stat().st_size for name in ("floats", "integers")]
    assert sizes[1] < share * sizes[0]


def test_numpy_alone_runs_a_packed_mlp(tmp_path: Path) -> None:
    """By the format that `app.spec.quantization` states, and nothing else."""
    form = Quantization(weights=4)
    _, network = quantised(WIDE, form)
    save_network(network, tmp_path / "net")
    blob = (tmp_path / "net").read_bytes()
    start = 8 + int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:start])
    assert json.loads(header.pop("__metadata__")["quantization"]) == form.model_dump()
    types = {"F32": "<f4", "U8": "u1"}
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        flat = np.frombuffer(blob[start + begin : start + end], types[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])

    x = inputs = examples(WIDE, 7).numpy()
    for i in range(4):
        weight, bias = tensors[f"layers.{i}.weight"], tensors[f"layers.{i}.bias"]
        if f"layers.{i}.weight_scale" in tensors:
            numbers = np.stack([weight & 15, weight >> 4], axis=2).astype(int) - 8
            numbers = numbers.reshape(len(weight), -1)[:, : x.shape[1]]
            scale, zero = tensors[f"layers.{i}.input_scale"], int(tensors[f"layers.{i}.input_zero"])
            q = np.clip(np.round(x / scale) + zero, 0, 255)
            x = (q - zero) @ numbers.T * scale * tensors[f"layers.{i}.weight_scale"] + bias
        else:
            x = x @ weight.T + bias
        x = np.maximum(x, 0) if i < 3 else x
    expected = network(torch.from_numpy(inputs)).detach().numpy()
    np.testing.assert_allclose(x, expected, rtol=1e-3, atol=2e-3)


def test_a_network_that_has_run_can_be_copied_and_moved() -> None:
    _, network = quantised(NETWORKS[1], Quantization(weights=4))
    x = examples(network.spec, 3)
    expected = network(x)
    assert torch.equal(copy.deepcopy(network)(x), expected)
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("form", [Quantization(), Quantization(activations=None)], ids=str)
def test_autocast_leaves_integers_alone(form: Quantization) -> None:
    _, network = quantised(WIDE, form)
    layer = network.get_submodule("layers.1")
    x = examples(MLP(inputs=64), 8)
    expected = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x), expected)


def test_the_floats_of_integers_can_train() -> None:
    rounding, network = quantised(WIDE, Quantization(activations=None))
    plain = floats(network)
    assert plain.quantization is None
    assert plain.state_dict().keys() == build(WIDE).state_dict().keys()
    assert all(parameter.requires_grad for parameter in plain.parameters())
    x = examples(WIDE, 6)
    torch.testing.assert_close(plain.eval()(x), rounding(x), rtol=1e-4, atol=1e-5)
    assert floats(plain) is plain


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "'layers.1.input_scale' (a scalar) and 5 more are unknown"),
        ({"weights": 4}, "'layers.1.weight' is 33 x 64 in the file, but 33 x 32"),
        ({"weights": 8, "activations": None, "first_and_last": False}, "unknown to this mlp"),
        ({"weights": 8, "activations": 8, "first_and_last": True}, "missing from the file"),
        ({"weights": 3}, "not valid: weights"),
        ({"bits": 8}, "not valid: bits"),
        ("eight", "not valid"),
    ],
    ids=str,
)
def test_a_file_that_is_not_what_it_says(metadata: Any, message: str, tmp_path: Path) -> None:
    _, network = quantised(WIDE, Quantization())
    network.quantization = None
    save_network(
        network, tmp_path / "net", {"quantization": json.dumps(metadata)} if metadata else {}
    )
    with pytest.raises(CheckpointError) as caught:
        load_network(WIDE, tmp_path / "net")
    assert message in str(caught.value)


@pytest.mark.parametrize("form", [Quantization(weights=4), Quantization(activations=7)], ids=str)
@pytest.mark.parametrize("spec", NETWORKS[:2], ids=lambda spec: spec.family)
def test_an_exported_network_needs_no_kernels_of_one_processor(
    spec: Network, form: Quantization
) -> None:
    _, network = quantised(spec, form)
    x = examples(spec, 4)
    program = torch.export.export(network, (x,))
    assert "onednn" not in program.graph_module.code
    torch.testing.assert_close(program.module()(x), network(x), rtol=1e-4, atol=1e-4)
