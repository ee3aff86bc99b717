"""Dataset distillation: the gradient through descents, and what its images are worth."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from app.spec.dataset import DatasetSpec
from app.spec.methods import DatasetDistillation
from app.spec.networks import MLP, ResNet
from workers.data.inspect import inspect_dataset
from workers.data.prepared import Prepared
from workers.engine.stages import mix
from workers.engine.unrolled import descend, weights_of
from workers.networks import build, linear

STUDENT = {"family": "mlp", "inputs": 64, "hidden": [16], "classes": 10}
METHOD = {"name": "dataset_distillation", "steps": 3, "passes": 2, "rate": 0.1}


def small() -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    images = torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    rates = torch.tensor([[0.3, 0.7], [0.2, 0.5]], dtype=torch.float64, requires_grad=True)
    return network, images, torch.tensor([0, 1]), rates


def test_descents_are_those_of_plain_sgd() -> None:
    network, images, labels, rates = small()
    theta = descend(network, weights_of(network), images, labels, rates, differentiable=False)
    for pass_rates in rates.detach():
        for batch, rate in zip(images.detach(), pass_rates, strict=True):
            optimizer = torch.optim.SGD(network.parameters(), lr=float(rate))
            optimizer.zero_grad()
            F.cross_entropy(network(batch), labels).backward()
            optimizer.step()
    for name, value in network.named_parameters():
        torch.testing.assert_close(theta[name], value)


def test_the_gradient_through_all_descents_is_that_of_finite_differences() -> None:
    network, images, labels, rates = small()
    start = weights_of(network)
    real = torch.randn(5, 3, dtype=torch.float64)
    answers = torch.tensor([0, 1, 1, 0, 1])

    def outer(images, rates):
        theta = descend(network, start, images, labels, rates, differentiable=True)
        return F.cross_entropy(torch.func.functional_call(network, theta, (real,)), answers)

    assert torch.autograd.gradcheck(outer, (images, rates))


def test_the_kernel_of_wide_layers_can_be_differentiated_twice(monkeypatch) -> None:
    """With oneDNN's kernel and with PyTorch's own the same gradient reaches the images."""
    network = build(MLP(inputs=64, hidden=(256,), classes=4), seed=0)
    found = []
    for worthwhile in (linear.WORTHWHILE, 10**9):
        monkeypatch.setattr(linear, "WORTHWHILE", worthwhile)
        images = torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        rates = torch.full((2, 1), 0.1)
        start = weights_of(network)
        theta = descend(network, start, images, torch.arange(4), rates, differentiable=True)
        logits = torch.func.functional_call(network, theta, (torch.ones(3, 64),))
        logits.square().sum().backward()
        found.append(images.grad)
    assert found[0].abs().max() > 1e-3
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


@pytest.fixture
def distilled(run):
    def go(name: str, **method):
        return run(
            name,
            teachers=[],
            method={**METHOD, **method},
            student=STUDENT,
            epochs=12,
            training={"optimizer": {"name": "adam", "lr": 0.05, "betas": [0.5, 0.999]}},
            baseline=None,
        )

    return go


def train_by_hand(out, digits, seed: int) -> float:
    """Trains on the published images alone; accuracy on the real test split."""
    told = json.loads((out / "synthetic.json").read_text())
    arrays = np.load(out / "synthetic.npz")
    mean, std = (torch.tensor(told["normalize"][name]) for name in ("mean", "std"))
    x = ((torch.from_numpy(arrays["x_train"]) - mean) / std).flatten(1)
    y = torch.from_numpy(arrays["y_train"])
    network = build(MLP(**{k: v for k, v in STUDENT.items() if k != "family"}), seed=seed)
    size = told["images_per_step"]
    for rates in told["rates"]:
        for step, rate in enumerate(rates):
            rows = slice(step * size, (step + 1) * size)
            optimizer = torch.optim.SGD(network.parameters(), lr=rate)
            optimizer.zero_grad()
            F.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
    test = Prepared.open(digits.file).split("test")
    pre = digits.facts.preprocess
    real = (test.x.float() * pre.scale - pre.mean[0]) / pre.std[0]
    return float((network(real.flatten(1)).argmax(dim=1) == test.y).float().mean())


def test_thirty_images_train_a_network(distilled, digits, tmp_path) -> None:
    out, events = distilled("random")
    told = json.loads((out / "report.json").read_text())
    assert told["student"]["accuracy"] > 0.5
    # The published files alone give the same network, step by step, from the same first weights.
    again = train_by_hand(out, digits, seed=mix("weights", 0, 0))
    assert again == pytest.approx(told["student"]["accuracy"], abs=0.01)
    # And nearly as good a one from weights that it never saw.
    assert train_by_hand(out, digits, seed=12345) > 0.4
    kinds = {f["name"]: f["kind"] for f in events.all("artifact")}
    assert kinds["synthetic.npz"] == kinds["synthetic.json"] == "dataset"
    # It is a data set that the service reads.
    source = {"kind": "file", "file": "file_a"}
    normalize = json.loads((out / "synthetic.json").read_text())["normalize"]
    spec = DatasetSpec.model_validate({"name": "s", "source": source, "normalize": normalize})
    facts = inspect_dataset(out / "synthetic.npz", spec, tmp_path / "prepared.safetensors")
    assert sum(facts.rows.values()) == 30
    assert facts.feature_shape == digits.facts.feature_shape


def test_images_for_one_initialisation_are_of_little_use_to_another(distilled, digits) -> None:
    out, _ = distilled("fixed", initialisation="fixed")
    told = json.loads((out / "report.json").read_text())["student"]["accuracy"]
    assert told > 0.75
    others = [train_by_hand(out, digits, seed=seed) for seed in range(3)]
    assert max(others) < told - 0.1


def test_descents_are_in_float32_at_any_precision(run) -> None:
    made = []
    for precision in ("fp32", "bf16"):
        training = {"precision": precision}
        fields = {"teachers": [], "student": STUDENT, "epochs": 1, "baseline": None}
        out, _ = run(precision, method=METHOD, training=training, **fields)
        made.append(np.load(out / "synthetic.npz")["x_train"])
    assert np.array_equal(*made)


def test_what_cannot_be_unrolled_is_refused() -> None:
    ((pointer, code, _),) = DatasetDistillation().flaws(ResNet(), ())
    assert (pointer, code) == ("/student/network/family", "batch_norm")
    assert not list(DatasetDistillation().flaws(MLP(), ()))
    with pytest.raises(ValueError, match="at most 200"):
        DatasetDistillation(steps=100, passes=3)
