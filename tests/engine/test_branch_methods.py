"""Branches over one trunk that teach each other: ONE, FFL, EnsembleNet."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from app.spec.methods import FFL, ONE, EnsembleNet
from app.spec.networks import MLP, ResNet, WideResNet
from workers.engine.branch_losses import (
    ensemblenet_loss,
    ffl_loss,
    gated,
    mean_logits,
    one_loss,
    ramp,
)
from workers.methods.branches import Branched
from workers.methods.ffl import Fusion
from workers.methods.one import Gate
from workers.networks import build
from workers.networks.preprocess import Preprocessed

N, C, T, R = 5, 4, 3.0, 0.4
LABELS = torch.tensor([0, 3, 1, 1, 2])
ONE_HOT = nn.functional.one_hot(LABELS, C).double()


def leaves(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(N, C, generator=generator, dtype=torch.float64).mul(2).requires_grad_()
        for _ in range(count)
    ]


def p(logits: Tensor, temperature: float = 1.0) -> Tensor:
    return (logits.detach() / temperature).softmax(dim=1)


def ce(logits: Tensor) -> float:
    return float(-(ONE_HOT * p(logits).log()).sum(dim=1).mean())


def kl(teacher: Tensor, student: Tensor, temperature: float) -> float:
    a, b = p(teacher, temperature), p(student, temperature)
    return float((a * (a / b).log()).sum(dim=1).mean())


def test_the_ramp_rises_from_exp_minus_5_to_1() -> None:
    assert ramp(0, 80) == pytest.approx(math.exp(-5))
    assert ramp(40, 80) == pytest.approx(math.exp(-1.25))
    assert ramp(80, 80) == ramp(300, 80) == ramp(0, 0) == 1


def test_one_by_hand_and_no_gradient_reaches_the_teacher_through_its_term() -> None:
    *logits, ensemble = leaves(4)
    loss = one_loss(logits, ensemble, LABELS, temperature=T, rise=R)
    by_hand = ce(ensemble) + sum(ce(z) + R * T**2 * kl(ensemble, z, T) for z in logits)
    assert float(loss.detach()) == pytest.approx(by_hand, rel=1e-12)
    loss.backward()
    torch.testing.assert_close(ensemble.grad, (p(ensemble) - ONE_HOT) / N)
    for z in logits:
        expected = (p(z) - ONE_HOT + R * T * (p(z, T) - p(ensemble, T))) / N
        torch.testing.assert_close(z.grad, expected)


def test_the_gate_weighs_logits_and_learns_from_the_ensemble() -> None:
    logits = leaves(3)
    scores = torch.randn(N, 3, dtype=torch.float64).requires_grad_()
    ensemble = gated(logits, scores.softmax(dim=1))
    weights = scores.detach().softmax(dim=1)
    by_hand = sum(weights[:, i, None] * z.detach() for i, z in enumerate(logits))
    torch.testing.assert_close(ensemble.detach(), by_hand)
    one_loss(logits, ensemble, LABELS, temperature=T, rise=R).backward()
    # d CE(z_e) / d score_i = g_i (z_i - z_e) . (softmax(z_e) - y) / N, and nothing else.
    residual = p(ensemble) - ONE_HOT
    for i, z in enumerate(logits):
        expected = weights[:, i] * ((z.detach() - by_hand) * residual).sum(dim=1) / N
        torch.testing.assert_close(scores.grad[:, i], expected)


def test_ffl_by_hand_with_each_teacher_held_fixed() -> None:
    *logits, fused = leaves(3)
    loss = ffl_loss(logits, fused, LABELS, temperature=T, rise=R)
    mean = mean_logits(logits)
    soft = sum(kl(fused, z, T) for z in logits) + kl(mean, fused, T)
    by_hand = ce(fused) + sum(map(ce, logits)) + R * T**2 * soft
    assert float(loss.detach()) == pytest.approx(by_hand, rel=1e-12)
    loss.backward()
    up = (p(fused) - ONE_HOT + R * T * (p(fused, T) - p(mean, T))) / N
    torch.testing.assert_close(fused.grad, up)
    for z in logits:
        down = (p(z) - ONE_HOT + R * T * (p(z, T) - p(fused, T))) / N
        torch.testing.assert_close(z.grad, down)


def test_ensemblenet_by_hand() -> None:
    heads = leaves(3)
    loss = ensemblenet_loss(heads, LABELS, weight=0.7)
    mean = mean_logits(heads)
    by_hand = ce(mean) + sum(ce(z) + 0.7 * kl(mean, z, 1.0) for z in heads) / 3
    assert float(loss.detach()) == pytest.approx(by_hand, rel=1e-12)
    loss.backward()
    for z in heads:
        expected = (p(mean) - ONE_HOT + p(z) - ONE_HOT + 0.7 * (p(z) - p(mean))) / 3 / N
        torch.testing.assert_close(z.grad, expected)


def test_ensemblenet_alone_with_one_opinion_has_no_codistillation_term() -> None:
    (z,) = leaves(1)
    torch.testing.assert_close(
        ensemblenet_loss([z, z], LABELS, weight=50), ensemblenet_loss([z, z], LABELS, weight=0)
    )


@pytest.mark.parametrize(
    "spec",
    [
        MLP(inputs=64, hidden=(9, 7)),
        ResNet(depth=8, inputs=(1, 8, 8)),
        WideResNet(depth=10, widen=1, inputs=(1, 8, 8)),
    ],
    ids=lambda spec: spec.family,
)
@pytest.mark.parametrize("make", [Gate, Fusion])
def test_the_join_reads_what_the_branches_make(spec, make) -> None:
    student = Preprocessed(build(spec, seed=0))
    others = [build(spec, seed=k) for k in (1, 2)]
    for net in others:
        for name in spec.trunk:
            net.set_submodule(name, nn.Identity())
    trainee = Branched(student, others, nn.Identity()).eval()
    x = torch.rand(6, 8, 8)
    split = trainee.split(x)
    trainee.join = make(split).eval()
    both = trainee(x)
    assert both.shape == (6, 2, 10)
    torch.testing.assert_close(both[:, 0], student(x))
    # Branches are not each other's copies: equal ones would never part.
    assert not torch.allclose(split.logits[0], split.logits[1])
    assert not torch.allclose(split.logits[1], split.logits[2])
    upper = sum(tensor.numel() for tensor in others[0].parameters())
    join = sum(tensor.numel() for tensor in trainee.join.parameters())
    assert upper < spec.parameters
    whole = sum(tensor.numel() for tensor in trainee.parameters())
    assert whole == spec.parameters + 2 * upper + join


def test_the_gate_is_a_distribution() -> None:
    spec = MLP(inputs=64, hidden=(9, 7))
    trainee = Branched(Preprocessed(build(spec, seed=0)), [build(spec, seed=1)], nn.Identity())
    split = trainee.split(torch.rand(6, 8, 8))
    weights = Gate(split).weights(split.trunk)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(6))


def test_a_network_without_a_trunk_is_refused() -> None:
    for method in (ONE(), FFL(), EnsembleNet()):
        ((pointer, code, detail),) = method.flaws(MLP(hidden=(10,)), ())
        assert (pointer, code) == ("/student/network", "no_trunk")
        assert method.title in detail
        assert not list(method.flaws(MLP(hidden=(10, 10)), ()))


@pytest.mark.parametrize("method", ["one", "ffl", "ensemblenet"])
def test_a_branch_is_delivered_as_an_ordinary_student(run, digits, method) -> None:
    student = {"family": "mlp", "inputs": 64, "hidden": [32, 24], "classes": 10}
    out, events = run(teachers=[], method={"name": method}, student=student, epochs=8)
    weights = load_file(out / "student.safetensors")
    assert set(weights) == {f"layers.{i}.{part}" for i in range(3) for part in ("weight", "bias")}
    report = json.loads((out / "report.json").read_text())
    assert report["student"]["accuracy"] > 0.85
    assert report["verdict"] in ("helped", "hurt", "not distinguishable")
    together = events.curve("validation/ensemble_accuracy")
    assert together.keys() == events.curve("validation/accuracy").keys()
    assert max(together.values()) > 0.85
    assert np.isfinite(list(events.curve("train/ensemble_loss").values())).all()


def test_student_and_baseline_start_from_the_same_weights(run) -> None:
    """So that what differs between them is what the branches taught."""
    student = {"family": "mlp", "inputs": 64, "hidden": [32, 24], "classes": 10}
    still = {"optimizer": {"name": "sgd", "lr": 1e-12, "momentum": 0.0}}
    fields = {"teachers": [], "student": student, "epochs": 1, "training": still}
    branch, _ = run("one", method={"name": "one"}, baseline=None, **fields)
    plain, _ = run("plain", method={"name": "supervised"}, **fields)
    one, two = (load_file(out / "student.safetensors") for out in (branch, plain))
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=1e-6)
