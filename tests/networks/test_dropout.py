"""Dropout drawn four elements at a time."""

import pytest
import torch

from workers.networks.dropout import dropout


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9])
def test_it_drops_the_rate_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 1001)
    out = dropout(x, rate, training=True)
    share = float((out == 0).float().mean())
    assert share == pytest.approx(rate, abs=5 * (rate * (1 - rate) / x.numel()) ** 0.5)
    kept = out[out != 0]
    assert torch.all(kept == kept[0])
    assert float(kept[0]) == pytest.approx(1 / (1 - rate), rel=2e-4)
    assert float(out.mean()) == pytest.approx(1, abs=0.02)


def test_elements_are_dropped_independently() -> None:
    """Neighbours share a draw: rows, columns and all four places of a draw are uncorrelated."""
    torch.manual_seed(0)
    out = (dropout(torch.ones(2000, 64), 0.5, training=True) != 0).double()
    off = torch.corrcoef(out.T) - torch.eye(64)
    assert float(off.abs().max()) < 5 / 2000**0.5


def test_the_gradient_goes_where_the_value_went() -> None:
    x = torch.ones(33, 7, requires_grad=True)
    out = dropout(x, 0.3, training=True)
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach())


def test_it_is_repeated_by_the_generators_state() -> None:
    x = torch.randn(64, 100)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = dropout(x, 0.5, training=True), dropout(x, 0.5, training=True)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(first, dropout(x, 0.5, training=True))


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_nothing_happens_outside_of_training(rate: float) -> None:
    x = torch.randn(4, 4)
    assert dropout(x, rate, training=False) is x
    assert dropout(x, 0.0, training=True) is x


def test_half_precision_and_a_rate_that_leaves_next_to_nothing() -> None:
    out = dropout(torch.ones(64, 64, dtype=torch.bfloat16), 0.5, training=True)
    assert set(out.unique().tolist()) == {0.0, 2.0}
    assert dropout(torch.ones(64, 64), 0.9999999, training=True).isfinite().all()
