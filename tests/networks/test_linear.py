"""The linear layer with oneDNN's kernels, against PyTorch's in float64."""

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu

from workers.networks import linear
from workers.networks.linear import WORTHWHILE, Linear

WIDTH = 160


@pytest.fixture(autouse=True, params=(True, False), ids=("onednn", "mkl"))
def onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine would choose."""
    monkeypatch.setattr(linear, "ONEDNN_IS_FASTER", request.param)


def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    ours = nn.Sequential(Linear(WIDTH, WIDTH), nn.GELU(), Linear(WIDTH, WIDTH, bias=False))
    plain = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH, bias=False))
    plain.load_state_dict(ours.state_dict())
    assert ours[0].weight.numel() >= WORTHWHILE
    return ours, plain.double()


def test_outputs_and_all_gradients() -> None:
    ours, plain = pair()
    x = torch.randn(32, WIDTH, requires_grad=True)
    wide = x.detach().double().requires_grad_()
    exact = plain(wide)
    torch.testing.assert_close(ours(x), exact.float(), rtol=1e-4, atol=1e-5)
    ours(x).square().sum().backward()
    exact.square().sum().backward()
    for a, b in ((x, wide), *zip(ours.parameters(), plain.parameters(), strict=True)):
        torch.testing.assert_close(a.grad, b.grad.float(), rtol=1e-3, atol=1e-3)


def test_gradients_of_gradients() -> None:
    """Dataset distillation differentiates through steps of training."""
    ours, plain = pair()
    second = []
    for network, x in zip(
        (ours, plain), (torch.ones(8, WIDTH), torch.ones(8, WIDTH).double()), strict=True
    ):
        weights = list(network.parameters())
        first = torch.autograd.grad(gelu(network(x)).sum(), weights, create_graph=True)
        second.append(torch.autograd.grad(sum(g.square().sum() for g in first), weights))
    for a, b in zip(*second, strict=True):
        torch.testing.assert_close(a, b.float(), rtol=1e-3, atol=1e-3)


def test_exported_graphs_hold_portable_operators_only() -> None:
    exported = torch.export.export(pair()[0].eval(), (torch.randn(4, WIDTH),))
    called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert called == {"aten.linear.default", "aten.gelu.default"}
