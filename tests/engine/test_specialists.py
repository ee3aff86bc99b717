"""Generalist and specialists: clusters, the dustbin, the common opinion, the whole plan."""

import json
import math

import pytest
import torch
from torch import Tensor

from app.spec.methods import Specialists
from app.spec.networks import MLP
from tests.engine.conftest import TEACHER
from workers.engine.specialist_losses import (
    Opinion,
    cluster,
    common_opinion,
    covariance,
    dustbin_correction,
)

C = 6


def draw(count: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64).mul(2).softmax(dim=1)


def opinions(count: int) -> list[Opinion]:
    sets = [torch.tensor([0, 2]), torch.tensor([1, 3, 4]), torch.tensor([2, 3])]  # they overlap
    return [
        Opinion(classes, draw(count, len(classes) + 1, seed)) for seed, classes in enumerate(sets)
    ]


def divergence(general: Tensor, said: list[Opinion], top: int, q: Tensor) -> Tensor:
    """KL(p_g || q) + sum KL(p_m || q) of each example, written out example by example."""
    totals = []
    for n in range(len(general)):
        total = (general[n] * (general[n] / q[n]).log()).sum()
        best = set(general[n].topk(top).indices.tolist())
        for opinion in said:
            classes = opinion.classes.tolist()
            if not best & set(classes):
                continue
            rest = [c for c in range(C) if c not in classes]
            mine = torch.cat([q[n, classes], q[n, rest].sum()[None]])
            p = opinion.probabilities[n]
            total = total + (p * (p / mine).log()).sum()
        totals.append(total)
    return torch.stack(totals)


@pytest.mark.parametrize("top", [1, 3])
def test_the_common_opinion_is_where_a_general_optimiser_ends(top: int) -> None:
    general, said = draw(7, C, 9), opinions(7)
    found = common_opinion(general, said, top)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(7, dtype=torch.float64))
    logits = torch.zeros(7, C, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = divergence(general, said, top, logits.softmax(dim=1)).sum()
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    best = logits.detach().softmax(dim=1)
    torch.testing.assert_close(found, best, atol=2e-5, rtol=1e-4)
    assert (
        divergence(general, said, top, found) <= divergence(general, said, top, best) + 1e-8
    ).all()


def test_where_no_specialist_is_active_the_generalist_is_believed() -> None:
    general = torch.tensor([[0.01, 0.02, 0.02, 0.02, 0.03, 0.9]], dtype=torch.float64)
    torch.testing.assert_close(common_opinion(general, opinions(1)), general)


def test_with_one_active_specialist_within_its_set_opinions_are_averaged() -> None:
    general = torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64)
    said = Opinion(torch.tensor([0, 1]), torch.tensor([[0.2, 0.7, 0.1]], dtype=torch.float64))
    expected = torch.tensor([[0.4, 0.5, 0.1]], dtype=torch.float64)
    torch.testing.assert_close(common_opinion(general, [said]), expected)


def test_the_correction_gives_the_dustbin_back_its_odds() -> None:
    """Bayes: trained on halves, a set of prior 1/10 is seen at even odds; they are 1 to 9."""
    prior = 0.1
    likelihood = torch.tensor([0.03, 0.01], dtype=torch.float64)  # of x within the set, and beyond
    trained = likelihood / likelihood.sum()
    really = likelihood * torch.tensor([prior, 1 - prior])
    really = really / really.sum()
    logits = trained.log() + torch.tensor([0.0, dustbin_correction(prior)])
    torch.testing.assert_close(logits.softmax(dim=0), really)
    assert dustbin_correction(0.1) == pytest.approx(math.log(9))
    assert dustbin_correction(0.5) == 0
    with pytest.raises(ValueError, match="prior"):
        dustbin_correction(1.0)


def test_the_covariance_is_numpy_s() -> None:
    import numpy as np

    p = draw(50, C, 1)
    torch.testing.assert_close(covariance(p), torch.tensor(np.cov(p.numpy().T, bias=True)))


def test_classes_that_are_confused_fall_into_one_cluster() -> None:
    """Three groups of two; within a group the probability moves from one class to the other."""
    generator = torch.Generator().manual_seed(0)
    group = torch.randint(3, (600,), generator=generator)
    share = torch.rand(600, generator=generator)
    p = torch.full((600, C), 0.01)
    rows = torch.arange(600)
    p[rows, group] = share * 0.96
    p[rows, group + 3] = (1 - share) * 0.96
    found = cluster(covariance(p), 3, seed=5).tolist()
    assert found[:3] == found[3:] == [0, 1, 2]


def test_sets_that_cannot_work_are_flaws() -> None:
    student, teacher = MLP(inputs=64, classes=10), MLP(inputs=64, classes=10)

    def codes(**fields) -> list[str]:
        return [code for _, code, _ in Specialists(**fields).flaws(student, [teacher])]

    assert codes() == []
    assert codes(count=10) == ["too_many_clusters"]
    assert codes(sets=[[0, 10], [1]]) == ["class_out_of_range"]
    assert codes(sets=[list(range(10))]) == ["no_dustbin"]
    assert [code for _, code, _ in Specialists().flaws(student, [])] == ["checkpoint_required"]
    with pytest.raises(ValueError, match="twice"):
        Specialists(sets=[[1, 1]])
    assert Specialists(sets=[[0, 1], [1, 2]]).stage_epochs(9) == (9, 9, 9)
    assert Specialists(count=4, specialist_epochs=2).stage_epochs(9) == (2, 2, 2, 2, 9)


def test_all_four_steps_and_a_student_of_them(run) -> None:
    out, events = run(method={"name": "specialists"}, student=TEACHER, epochs=12)
    told = json.loads((out / "specialists.json").read_text())
    assert sorted(c for one in told for c in one["classes"]) == list(range(10))
    report = json.loads((out / "report.json").read_text())
    assert report["student"]["accuracy"] > 0.9
    assert report["verdict"] in ("helped", "hurt", "not distinguishable")
    for number in range(3):
        curve = events.curve(f"specialist/{number}/validation/accuracy")
        assert max(curve.values()) > 0.9
    together = set(events.curve("validation/ensemble_accuracy").values())
    assert len(together) == 1
    assert together.pop() > 0.9
    fractions = [fields["fraction"] for fields in events.all("progress")]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    (once,) = [f for f in events.all("artifact") if f["kind"] == "once"]
    assert once["name"] == "once-clusters.safetensors"


def test_given_sets_may_overlap_and_leave_classes_out(run) -> None:
    sets = [[1, 7], [7, 9, 4]]
    out, _ = run(method={"name": "specialists", "sets": sets}, epochs=2, baseline=None)
    told = json.loads((out / "specialists.json").read_text())
    assert [one["classes"] for one in told] == [[1, 7], [4, 7, 9]]
    assert 0.15 < told[0]["prior"] < 0.25


def test_specialists_run_the_whole_schedule_within_their_epochs(run) -> None:
    schedule = {"name": "step", "milestones": [4, 6], "warmup_epochs": 2}
    _, events = run(
        method={"name": "specialists", "specialist_epochs": 4, "specialist_lr_scale": 1},
        epochs=8,
        training={"schedule": schedule, "log_every": 1},
        baseline=None,
    )
    rates = list(events.curve("specialist/0/train/lr").values())
    assert max(rates) == pytest.approx(0.003)
    assert rates[-1] == pytest.approx(0.003 * 0.01)


def test_further_seeds_share_the_clusters(run) -> None:
    _, events = run(method={"name": "specialists"}, epochs=1, baseline={"seeds": 2})
    names = [f["name"] for f in events.all("artifact")]
    assert names.count("once-clusters.safetensors") == 1
    assert events.curve("student/1/specialist/2/train/loss")
