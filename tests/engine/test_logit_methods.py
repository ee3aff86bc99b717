"""The further logit methods as whole jobs: what is minimised is what their papers say."""

import json

import pytest

from app.spec.methods import METHODS

# What the logged loss is made of: weights of the logged terms, as a function of epochs done.
LOSSES = {
    "kd, standardised": (
        {"name": "kd", "standardise": True, "temperature": 2, "soft_weight": 9, "hard_weight": 0.1},
        lambda epoch: {"soft_loss": 9 * 4, "hard_loss": 0.1},
    ),
    "dkd": (
        {"name": "dkd", "temperature": 3, "alpha": 2, "beta": 5, "warmup_epochs": 2},
        lambda epoch: {
            "hard_loss": 1,
            "target_loss": 9 * 2 * min(epoch / 2, 1),
            "nontarget_loss": 9 * 5 * min(epoch / 2, 1),
        },
    ),
    "dist": (
        {"name": "dist", "temperature": 4, "beta": 2, "gamma": 3},
        lambda epoch: {"hard_loss": 1, "inter_loss": 32, "intra_loss": 48},
    ),
    "nkd": (
        {"name": "nkd", "temperature": 2, "gamma": 1.5},
        lambda epoch: {"hard_loss": 1, "target_loss": 1, "nontarget_loss": 6},
    ),
    "wttm": (
        {"name": "wttm", "temperature": 10, "beta": 4},
        lambda epoch: {"hard_loss": 1, "soft_loss": 4},
    ),
    "policy": ({"name": "policy", "temperature": 0.2}, lambda epoch: {"soft_loss": 1}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_the_sum_of_its_terms(run, name) -> None:
    method, weights = LOSSES[name]
    _, events = run(method=method, epochs=3, training={"log_every": 1}, baseline=None)
    loss = events.curve("train/loss")
    steps = len(loss) // 3
    curves = {term: events.curve(f"train/{term}") for term in weights(0)}
    for step, value in loss.items():
        weight = weights((step - 1) / steps)
        parts = sum(weight[term] * curves[term][step] for term in weight)
        assert value == pytest.approx(parts, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_the_student_comes_to_agree_with_its_teacher(run, name) -> None:
    student = {"family": "mlp", "inputs": 64, "hidden": [32], "classes": 10}
    out, _ = run(method=LOSSES[name][0], student=student, epochs=12, baseline=None)
    assert json.loads((out / "report.json").read_text())["student"]["agreement"] > 0.75


def test_unlabelled_variants_need_no_labels() -> None:
    assert not METHODS["policy"]().needs_labels
    assert not METHODS["wttm"](hard_weight=0).needs_labels
    assert not METHODS["dist"](hard_weight=0).needs_labels
    assert METHODS["dkd"]().needs_labels
    assert METHODS["nkd"]().needs_labels
