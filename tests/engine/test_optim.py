"""Learning-rate schedules by hand, ramps, and precision's resolution."""

import pytest
import torch

from app.spec.schedules import Ramp, value_at
from app.spec.training import SGD, Adam, AdamW, Schedule
from workers.engine.device import resolve
from workers.engine.optim import make_optimizer, rate_factor


def test_step_schedule_of_the_cifar_table() -> None:
    step = Schedule(name="step", milestones=(150, 180, 210), gamma=0.1)
    factors = [rate_factor(step, epoch, 240) for epoch in (0, 149.99, 150, 180, 239)]
    assert factors == pytest.approx([1, 1, 0.1, 0.01, 0.001])


def test_cosine_with_warm_up() -> None:
    cosine = Schedule(name="cosine", warmup_epochs=2)
    factors = [rate_factor(cosine, epoch, 10) for epoch in (0, 1, 2, 6, 10)]
    assert factors == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_constant_is_constant() -> None:
    assert rate_factor(Schedule(name="constant"), 7.3, 10) == 1


def test_ramps() -> None:
    ramp = Ramp(start=8, end=2, epochs=4)
    assert [value_at(ramp, epoch, 10) for epoch in (0, 2, 4, 9)] == [8, 5, 2, 2]
    cosine = Ramp(start=1, end=0, shape="cosine")
    assert value_at(cosine, 5, 10) == pytest.approx(0.5)
    assert value_at(3.0, 5, 10) == 3


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        (
            SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
            lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=1e-2, nesterov=True),
        ),
        (Adam(lr=0.01, weight_decay=0.1), lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1)),
        (AdamW(lr=0.01), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.01)),
    ],
)
def test_fused_optimisers_follow_the_plain_ones(spec, reference) -> None:
    start = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    ours, plain = (torch.nn.Parameter(start.clone()) for _ in range(2))
    fused, slow = make_optimizer(spec, [ours]), reference([plain])
    for _ in range(5):
        for parameter, optimizer in ((ours, fused), (plain, slow)):
            optimizer.zero_grad()
            (parameter.square().sum() + parameter.sum()).backward()
            optimizer.step()
    torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize(
    ("spec", "reference"), [(Adam(lr=0.01), torch.optim.Adam), (AdamW(lr=0.01), torch.optim.AdamW)]
)
def test_lean_adam_is_adam_bit_for_bit(spec, reference) -> None:
    """Over steps of its own, a reload, a parameter without a gradient, and a change of rate."""
    draw = torch.Generator().manual_seed(0)
    starts = [torch.randn(5, 4, generator=draw), torch.randn(4, generator=draw)]
    ours = [torch.nn.Parameter(start.clone()) for start in starts]
    plain = [torch.nn.Parameter(start.clone()) for start in starts]
    lean = make_optimizer(spec, ours)
    fused = reference(plain, lr=0.01, weight_decay=spec.weight_decay, fused=True)
    for step in range(9):
        if step == 4:
            lean_state, lean = lean.state_dict(), make_optimizer(spec, ours)
            lean.load_state_dict(lean_state)
        for parameters, optimizer in ((ours, lean), (plain, fused)):
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + step)
            optimizer.zero_grad()
            matrix, vector = parameters
            loss = matrix.square().sum() + matrix.sum()
            if step not in (0, 6):
                loss = loss + vector.square().sum()
            loss.backward()
            optimizer.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True)), step


def test_auto_precision_keeps_small_networks_exact() -> None:
    assert resolve("cpu", 2, "auto", flops=1000).precision == "fp32"
    assert resolve("cpu", 2, "fp16", flops=1000).precision == "fp16"
    assert resolve("cpu", None, "auto", flops=10**9).threads >= 1
