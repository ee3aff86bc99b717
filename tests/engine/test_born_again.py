"""Born-again networks: the treatments against their formulas, and the line of generations."""

import json
from statistics import mean
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from app.spec.methods import BornAgain
from workers.engine.judge import Judge
from workers.engine.logit_losses import confidence_weighted, permute_others
from workers.engine.losses import log_soften
from workers.networks.preprocess import Preprocessed


def teacher_and_student() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(2, 40, 5, generator=generator, dtype=torch.float64)
    return 2 * z[0], z[1].requires_grad_()


def test_cwtm_value_and_gradient_by_hand() -> None:
    z_t, z_s = teacher_and_student()
    labels = torch.arange(40) % 5
    loss = confidence_weighted(log_soften(z_t, 1), log_soften(z_s, 1), labels)
    (gradient,) = torch.autograd.grad(loss, z_s)
    weights = z_t.softmax(1).max(1).values
    weights = weights / weights.sum()
    q, y = z_s.detach().softmax(1), torch.nn.functional.one_hot(labels, 5).double()
    torch.testing.assert_close(loss.detach(), -(weights[:, None] * y * q.log()).sum())
    torch.testing.assert_close(gradient, weights[:, None] * (q - y))


def test_cwtm_with_equal_confidence_is_plain_cross_entropy() -> None:
    _, z_s = teacher_and_student()
    labels = torch.arange(40) % 5
    flat = torch.zeros(40, 5, dtype=torch.float64)
    loss = confidence_weighted(log_soften(flat, 1), log_soften(z_s, 1), labels)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(z_s, labels))


def test_dkpp_keeps_the_maximum_in_its_place_and_moves_the_rest() -> None:
    """The trap is to keep the label's entry: here most labels are not the teacher's choice."""
    z_t, _ = teacher_and_student()
    log_p = log_soften(z_t, 1)
    permuted = permute_others(log_p, torch.Generator().manual_seed(0))
    top = log_p.argmax(1)
    assert torch.equal(permuted.argmax(1), top)
    assert torch.equal(permuted.gather(1, top[:, None]), log_p.gather(1, top[:, None]))
    assert torch.equal(permuted.sort(1).values, log_p.sort(1).values)
    moved = (permuted != log_p).any(1).float().mean()
    assert moved > 0.85  # 1 in 24 permutations of four moves nothing
    again = permute_others(log_p, torch.Generator().manual_seed(0))
    other = permute_others(log_p, torch.Generator().manual_seed(1))
    assert torch.equal(permuted, again)
    assert not torch.equal(permuted, other)


def test_every_place_is_as_likely_for_each_other_class() -> None:
    log_p = log_soften(torch.tensor([[9.0, 0.0, 1.0, 2.0]]).repeat(6000, 1), 1)
    permuted = permute_others(log_p, torch.Generator().manual_seed(0))
    share = (permuted[:, 1:] == log_p[:, 3:4]).float().mean(0)
    assert torch.allclose(share, torch.full((3,), 1 / 3), atol=0.03)


def test_three_generations_and_their_ensemble(run) -> None:
    student = {"family": "mlp", "inputs": 64, "hidden": [32], "classes": 10}
    out, events = run(method={"name": "born_again"}, student=student, epochs=5, baseline=None)
    report = json.loads((out / "report.json").read_text())
    together = report["ensemble"]
    assert len(together["members"]) == 3
    assert together["members"][-1]["errors"] == report["student"]["errors"]
    assert together["parameters"] == 3 * report["student"]["parameters"]
    # By convexity the mean probability is no worse than the members are on average.
    assert together["nll"] < sum(one["nll"] for one in together["members"]) / 3
    assert len({one["nll"] for one in together["members"]}) == 3
    steps = [max(events.curve(f"{name}train/loss")) for name in ("generation/1/", "generation/2/")]
    assert steps[0] < steps[1] < max(events.curve("train/loss"))
    progress = events.all("progress")[-1]
    assert (progress["stage"], progress["stages"], progress["fraction"]) == (3, 3, 1)
    rows = pq.read_table(out / "predictions.parquet").to_pydict()
    errors = sum(a != b for a, b in zip(rows["student"], rows["label"], strict=True))
    assert errors == report["student"]["errors"]


def test_a_generation_is_fresh_and_taught_by_the_one_before(run) -> None:
    """With nothing learned, the second one's teacher is as ignorant as itself."""
    still = {"optimizer": {"name": "sgd", "lr": 1e-9}, "log_every": 1}
    method = {"name": "born_again", "generations": 2}
    _, events = run(method=method, epochs=1, training=still, baseline=None)
    first = mean(events.curve("generation/1/train/soft_loss").values())
    second = mean(events.curve("train/soft_loss").values())
    assert 0.1 < second < 0.6 * first


@pytest.mark.parametrize("treatment", ["cwtm", "dkpp"])
def test_the_treatments_train(run, treatment) -> None:
    student = {"family": "mlp", "inputs": 64, "hidden": [32], "classes": 10}
    method = {"name": "born_again", "generations": 1, "treatment": treatment}
    out, _ = run(method=method, student=student, epochs=8)
    report = json.loads((out / "report.json").read_text())
    assert report["student"]["accuracy"] > 0.8
    assert report["verdict"] != "no baseline"


def test_what_needs_labels() -> None:
    assert not BornAgain().needs_labels
    assert BornAgain(hard_weight=1).needs_labels
    assert BornAgain(treatment="cwtm").needs_labels
    with pytest.raises(ValueError, match="cwtm learns the labels already"):
        BornAgain(treatment="cwtm", hard_weight=1)


def test_every_generation_is_repaired_as_the_last_one_is(run, monkeypatch) -> None:
    """The report holds the ensemble against a student that was repaired."""
    repaired = []

    def repair(judge: Judge, network: Preprocessed) -> Any:
        repaired.append(network)
        return whole(judge, network)

    whole = Judge.repair
    monkeypatch.setattr(Judge, "repair", repair)
    student = {"family": "mlp", "inputs": 64, "hidden": [32], "classes": 10}
    method = {"name": "born_again", "generations": 3}
    out, _ = run(
        method=method,
        student=student,
        epochs=2,
        baseline=None,
        transfer={"exclude_classes": [1]},
    )
    assert len(repaired) == len({id(network) for network in repaired}) == 3
    report = json.loads((out / "report.json").read_text())
    errors = report["bias_repair"]["after"]["errors"]
    assert report["ensemble"]["members"][-1]["errors"] == report["student"]["errors"] == errors
