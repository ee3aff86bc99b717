"""Mutual learning against its formula, its order of updates, and its traps."""

import json

import pytest
import torch
from torch import nn

from app.spec.methods import DML
from tests.engine.conftest import TEACHER, job_file
from workers.engine.stages import Batch, Clock
from workers.methods.dml import mutual_terms, mutual_turns

CLOCK = Clock(seed=0, stage=0, step=0, steps=10, steps_per_epoch=5, epochs=2)


def some_batch(n: int = 6, inputs: int = 4, classes: int = 5) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, inputs, generator=generator, dtype=torch.float64)
    return Batch(x, torch.randint(classes, (n,), generator=generator), torch.arange(n), 0)


def some_peers(count: int) -> list[nn.Module]:
    torch.manual_seed(1)
    return [nn.Linear(4, 5).double() for _ in range(count)]


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return (p * (p / q).log()).sum(1).mean()


@pytest.mark.parametrize("k", [0, 1, 2])
def test_value_and_gradient_by_hand(k) -> None:
    """KL(p_l || p_k): the other way round is a trap, and so is a target that is not held fixed."""
    batch = some_batch()
    z = [peer(batch.inputs).detach().requires_grad_() for peer in some_peers(3)]
    teacher = torch.randn(6, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    method = DML(peers=3, peer_weight=2.0, temperature=3.0, soft_weight=0.5, teacher_temperature=2)
    loss = mutual_terms(method, z, k, batch, [teacher])["loss"]
    gradients = torch.autograd.grad(loss, z, allow_unused=True)

    p = [(one / 3).softmax(1).detach() for one in z]
    q_k, y = z[k].detach().softmax(1), nn.functional.one_hot(batch.labels, 5).double()
    others = [number for number in range(3) if number != k]
    at_2 = [(one / 2).softmax(1).detach() for one in (teacher, z[k])]
    by_hand = -(y * q_k.log()).sum(1).mean() + 0.5 * 4 * kl(*at_2)
    by_hand += 2 * 9 * sum(kl(p[number], p[k]) for number in others) / 2
    torch.testing.assert_close(loss.detach(), by_hand)
    expected = q_k - y + 0.5 * 2 * (at_2[1] - at_2[0])
    expected += 2 * 3 * sum(p[k] - p[number] for number in others) / 2
    torch.testing.assert_close(gradients[k], expected / 6)
    assert all(gradients[number] is None for number in others)


def test_each_turn_hears_the_peers_just_updated() -> None:
    batch, peers = some_batch(), some_peers(3)
    method = DML(peers=3)
    turns = mutual_turns(method, peers, None)
    for k, turn in enumerate(turns):
        assert {id(p) for p in turn.parameters} == {id(p) for p in peers[k].parameters()}
        terms = turn.objective(batch, CLOCK)
        now = [peer(batch.inputs) for peer in peers]
        torch.testing.assert_close(terms["loss"], mutual_terms(method, now, k, batch, ())["loss"])
        terms["loss"].backward()
        with torch.no_grad():
            for parameter in turn.parameters:
                parameter -= 0.5 * parameter.grad
        touched = [any(p.grad is not None for p in peer.parameters()) for peer in peers]
        assert touched == [number <= k for number in range(3)]
    assert [turn.name for turn in turns] == ["", "peer/1", "peer/2"]


def test_predicting_again_moves_no_running_statistics() -> None:
    batch = some_batch()
    peers = [nn.Sequential(peer, nn.BatchNorm1d(5).double()) for peer in some_peers(3)]
    means = [peer[0](batch.inputs).mean(0).detach() for peer in peers]
    for turn in mutual_turns(DML(peers=3), peers, None):
        turn.objective(batch, CLOCK)
    for peer, mean in zip(peers, means, strict=True):
        torch.testing.assert_close(peer[1].running_mean, 0.1 * mean)
        assert peer[1].momentum == 0.1


def test_peers_start_apart_even_from_a_file(run, digits, teacher_file) -> None:
    """The trap: peers that start equal stay equal, and have nothing to tell each other."""
    still = {"optimizer": {"name": "sgd", "lr": 1e-9}}
    fields = {"method": {"name": "dml"}, "training": still, "epochs": 1, "student": TEACHER}
    job = job_file(digits, [], **fields).job
    warm = job.student.model_copy(update={"file": "file_s"})
    update = {
        "job": job.model_copy(update={"student": warm}),
        "files": {"file_s": teacher_file},
    }
    _, events = run(teachers=[], update=update, **fields)
    (student,) = events.curve("validation/accuracy").values()
    (peer,) = events.curve("validation/peer/1/accuracy").values()
    assert student > 0.9
    assert peer < 0.5


def test_two_peers_beat_chance_and_are_measured_side_by_side(run) -> None:
    student = {"family": "mlp", "inputs": 64, "hidden": [32], "classes": 10}
    out, events = run(method={"name": "dml"}, teachers=[], student=student, epochs=8)
    report = json.loads((out / "report.json").read_text())
    assert report["teacher"] is None
    assert report["verdict"] != "no baseline"
    assert report["student"]["accuracy"] > 0.8
    for key in ("train/peer/1/loss", "train/peer/1/accuracy", "validation/peer/1/accuracy"):
        assert events.curve(key).keys() <= events.curve("train/loss").keys()
        assert events.curve(key)
    assert events.curve("train/loss") != events.curve("train/peer/1/loss")
    soft, hard = events.curve("train/soft_loss"), events.curve("train/hard_loss")
    for step, loss in events.curve("train/loss").items():
        assert loss == pytest.approx(soft[step] + hard[step], rel=1e-4)


def test_peers_of_another_network_and_a_teacher(run) -> None:
    method = {"name": "dml", "peers": 3, "networks": [TEACHER]}
    out, events = run(method=method, epochs=4, baseline=None)
    assert events.curve("train/teacher_loss")
    assert events.curve("validation/peer/2/accuracy")
    assert json.loads((out / "network.json").read_text())["hidden"] == [16]


def test_the_first_peer_is_the_baselines_twin(run) -> None:
    """Without a word from its peer the student is the baseline: same start, order and budget."""
    method = {"name": "dml", "peer_weight": 1e-30}
    student = {"family": "mlp", "inputs": 64, "hidden": [16], "classes": 10}
    out, _ = run(method=method, teachers=[], student=student, epochs=3)
    report = json.loads((out / "report.json").read_text())
    assert report["student"]["nll"] == pytest.approx(report["baseline"]["nll"], rel=1e-5)


def test_more_networks_than_peers_are_refused() -> None:
    with pytest.raises(ValueError, match="2 peers are the student and 1 more"):
        DML(peers=2, networks=[TEACHER, TEACHER])
