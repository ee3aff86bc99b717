"""The further logit methods as whole jobs: what is minimised is what their papers say."""

import json

import numpy as np
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


def test_policy_hears_its_teacher_in_float32_at_any_precision(run) -> None:
    """T = 0.01 multiplies what rounding does to action values by a hundred."""
    found = []
    for precision in ("fp32", "bf16"):
        training = {"precision": precision, "augment": [{"name": "flip"}]}
        fields = {"method": {"name": "policy"}, "training": training, "baseline": None, "epochs": 2}
        out, _ = run(precision, images=True, **fields)
        found.append(json.loads((out / "report.json").read_text())["cache"]["soft_targets"])
    assert found == [{"made": 2, "found": 0}, {"made": 0, "found": 2}]
    stored = [np.load(path) for path in (out.parent / "cache").rglob("*") if path.is_file()]
    assert [one.dtype for one in stored if one.shape[1:] == (10,)] == [np.float32] * 2


def test_unlabelled_variants_need_no_labels() -> None:
    assert not METHODS["policy"]().needs_labels
    assert not METHODS["wttm"](hard_weight=0).needs_labels
    assert not METHODS["dist"](hard_weight=0).needs_labels
    assert METHODS["dkd"]().needs_labels
    assert METHODS["nkd"]().needs_labels
