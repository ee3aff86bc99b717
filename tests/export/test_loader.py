"""load.py says what workers.networks says, and needs nothing of this project."""

import ast
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from app.spec.networks import FAMILIES, MLP, Network
from app.spec.quantization import Quantization
from tests.networks.test_integers import ALL, FORMS, NETWORKS, WIDE, quantised
from tests.networks.test_networks import SPECS, each_spec
from workers.export import loader as made
from workers.export.loader import NotPortable, loader
from workers.networks import Net, build
from workers.networks.preprocess import Preprocessed
from workers.networks.store import save_network


def raw_batch(spec: Network, size: int) -> torch.Tensor:
    """As it is stored: uint8, N x D or N x H x W x C."""
    generator = torch.Generator().manual_seed(3)
    shape = spec.input_shape
    if len(shape) == 3:
        shape = (*shape[1:], shape[0])
    return torch.randint(0, 256, (size, *shape), dtype=torch.uint8, generator=generator)


def unpacked(spec: Network, folder: Path) -> tuple[Preprocessed, ModuleType]:
    """A network with weights that are not fresh, and the module made of it."""
    network = build(spec, seed=1)
    for name, value in network.state_dict().items():
        if "running" in name:  # fresh statistics would hide a BatchNorm in train mode
            value.uniform_(0.5, 1.5)
    return bundled(network, folder)


def bundled(network: Net, folder: Path) -> tuple[Preprocessed, ModuleType]:
    """A network as it is in the service, and the module of its bundle."""
    spec = network.spec
    channels = spec.input_shape[0] if len(spec.input_shape) == 3 else 1
    constants = {"scale": 1 / 255, "mean": [0.3] * channels, "std": [0.2] * channels}
    save_network(network, folder / "student.safetensors")
    about = {**spec.model_dump(mode="json"), "preprocess": constants}
    (folder / "network.json").write_text(json.dumps(about))
    (folder / "load.py").write_text(loader(spec, network.quantization))
    found = importlib.util.spec_from_file_location("load", folder / "load.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return Preprocessed(network, **constants).eval(), module


def test_every_family_is_tried() -> None:
    assert {spec.family for spec in SPECS} == FAMILIES.keys()


@each_spec
def test_the_loaded_student_computes_the_same(spec: Network, tmp_path: Path) -> None:
    ours, module = unpacked(spec, tmp_path)
    student = module.load()
    assert not any(part.training for part in student.modules())
    batch = raw_batch(spec, 3)
    with torch.inference_mode():
        told, expected = student(batch), ours(batch)
    assert told.shape == (3, spec.classes)
    # The larger linear layers have another kernel here, which sums in another order.
    torch.testing.assert_close(told, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: spec.family)
@pytest.mark.parametrize("form", [*FORMS, ALL], ids=str)
def test_integers_stay_what_they_are(spec: Network, form: Quantization, tmp_path: Path) -> None:
    _, network = quantised(spec, form)
    ours, module = bundled(network, tmp_path)
    student = module.load()
    for layer in form.layers(spec):
        weight = student.network.get_submodule(layer).weight
        assert weight.dtype is (torch.int8 if form.weights == 8 else torch.uint8)
        assert torch.equal(weight, network.get_submodule(layer).weight)
    batch = raw_batch(spec, 3)
    with torch.inference_mode():
        told, expected = student(batch), ours(batch)
    # A sum that differs in its last bit may round to the next integer: one step of a layer's input.
    torch.testing.assert_close(told, expected, rtol=1e-3, atol=1e-2 * float(expected.abs().max()))


@each_spec
def test_it_imports_torch_and_safetensors_alone(spec: Network) -> None:
    assert_portable(loader(spec), 150)


def test_of_integers_too() -> None:
    assert_portable(loader(WIDE, ALL), 300)


def assert_portable(text: str, most_lines: int) -> None:
    modules = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    roots = {module.partition(".")[0] for module in modules}
    assert roots <= {"torch", "safetensors", *sys.stdlib_module_names}
    assert len(text.splitlines()) < most_lines


def test_it_can_be_trained_on(tmp_path: Path) -> None:
    spec = MLP(inputs=12, hidden=(8,), classes=3, dropout=0.5)
    _, module = unpacked(spec, tmp_path)
    student = module.load().train()
    student(raw_batch(spec, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_what_leans_on_this_project_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    leaning = "from app.settings import get_settings\n\ndef module():\n    return get_settings()\n"
    monkeypatch.setattr(made.inspect, "getsource", lambda _: leaning)
    copied = made._Copied()
    with pytest.raises(NotPortable, match=r"app\.settings"):
        copied.take(made, "module")
