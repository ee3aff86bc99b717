"""Codistillation: the shards, the exchanges, the loss, and that no live peer is ever asked."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from app.spec.methods import Codistillation
from app.spec.problems import Refused
from app.spec.training import Training
from workers.engine.shards import Shards
from workers.engine.stages import Batch, Clock
from workers.engine.transfer import Transfer
from workers.methods.codistillation import Workers, is_exchange, worker_terms

CLOCK = Clock(seed=0, stage=0, step=0, steps=100, steps_per_epoch=10, epochs=10)


def whole(n: int = 23) -> Transfer:
    return Transfer(torch.arange(float(n))[:, None], torch.arange(n), Training())


def test_shards_are_disjoint_and_an_epoch_is_as_long_as_before() -> None:
    shards = Shards(whole(), 3, seed=1)
    order = shards.order(seed=1, stage=0, epoch=2)
    assert order.shape == (23, 3)
    seen = [set(column.tolist()) for column in order.unbind(1)]
    assert sorted(map(len, seen)) == [7, 8, 8]
    assert set.union(*seen) == set(range(23))
    for column, mine in zip(order.unbind(1), seen, strict=True):
        assert set(column[: len(mine)].tolist()) == mine  # a whole pass before the next one
    assert torch.equal(order, shards.order(seed=1, stage=0, epoch=2))
    assert not torch.equal(order, shards.order(seed=1, stage=0, epoch=3))
    assert len(shards) == len(whole())  # as many steps an epoch
    batches = shards.batch(order[:5], epoch=2)
    assert [batch.index.tolist() for batch in batches] == order[:5].T.tolist()
    assert all(torch.equal(batch.inputs[:, 0], batch.index.float()) for batch in batches)


def test_shared_shards_hold_everything() -> None:
    order = Shards(whole(), 2, seed=1, disjoint=False).order(seed=1, stage=0, epoch=0)
    assert all(sorted(column.tolist()) == list(range(23)) for column in order.unbind(1))
    assert not torch.equal(order[:, 0], order[:, 1])


def test_more_workers_than_examples_are_refused() -> None:
    with pytest.raises(Refused, match="too_few_examples"):
        Shards(whole(2), 3, seed=0)


def test_exchanges_begin_with_the_end_of_the_burn_in() -> None:
    method = Codistillation(burn_in_epochs=0.7, exchange_steps=5)
    steps = [step for step in range(30) if is_exchange(method, replace(CLOCK, step=step))]
    assert steps == [6, 11, 16, 21, 26]


def test_loss_and_gradient_by_hand_from_stale_copies_alone() -> None:
    torch.manual_seed(0)
    trainee = Workers([nn.Linear(4, 5).double() for _ in range(3)])
    method = Codistillation(peers=3, burn_in_epochs=0, weight=2.0, temperature=3.0)
    x, y = torch.randn(3, 6, 4, dtype=torch.float64), torch.randint(5, (3, 6))
    batches = [Batch(x[k], y[k], torch.arange(6), 0) for k in range(3)]
    stale = [(peer(x[0]) / 3).softmax(1).detach() for peer in trainee.peers]
    with torch.no_grad():  # the live peers move on, and nobody hears of it
        for parameter in trainee.peers.parameters():
            parameter += torch.randn_like(parameter)
    z = trainee.peers[0](x[0]).detach().requires_grad_()
    p = (stale[1] + stale[2]) / 2
    soft = (p * (p / (z / 3).softmax(1)).log()).sum(1).mean()
    by_hand = nn.functional.cross_entropy(z, y[0]) + 2 * 9 * soft

    terms = worker_terms(method, trainee, 0, batches, CLOCK)
    torch.testing.assert_close(terms["loss"], by_hand)
    terms["loss"].backward()
    (gradient,) = torch.autograd.grad(by_hand, z)
    torch.testing.assert_close(trainee.peers[0].weight.grad, gradient.T @ x[0])
    assert all(p.grad is None for peer in trainee.peers[1:] for p in peer.parameters())

    trainee.exchange()
    after = worker_terms(method, trainee, 0, batches, CLOCK)["soft_loss"]
    assert abs(after - terms["soft_loss"]) > 1e-3


def test_stale_copies_stay_in_eval_mode() -> None:
    trainee = Workers([nn.Dropout(0.5), nn.Dropout(0.5)])
    trainee.train()
    assert trainee.peers[0].training
    assert not any(module.training for module in trainee.stale.modules())


def test_workers_train_and_the_burn_in_is_on_labels_alone(run) -> None:
    student = {"family": "mlp", "inputs": 64, "hidden": [32], "classes": 10}
    method = {"name": "codistillation", "exchange_steps": 7, "burn_in_epochs": 2}
    training = {"log_every": 1}
    out, events = run(method=method, teachers=[], student=student, epochs=8, training=training)
    report = json.loads((out / "report.json").read_text())
    assert report["student"]["accuracy"] > 0.75
    assert report["verdict"] != "no baseline"
    soft, hard = events.curve("train/soft_loss"), events.curve("train/hard_loss")
    per_epoch = len(soft) // 8
    for step, loss in events.curve("train/loss").items():
        assert (soft[step] == 0) is (step <= 2 * per_epoch)
        assert loss == pytest.approx(soft[step] + hard[step], rel=1e-4)
    assert events.curve("validation/peer/1/accuracy")
