"""Methods on inner layers, on small real jobs."""

import json

import pytest
import torch
from safetensors.torch import load_file

from app.spec.methods import AT, CRD, METHODS, RKD, FitNets
from app.spec.networks import MLP
from app.spec.problems import Refused
from app.spec.training import Schedule, Training
from tests.engine.conftest import STUDENT, TEACHER, Recorder, job_file
from workers.engine.cache import Cache
from workers.engine.job import run_job
from workers.engine.stages import mix
from workers.methods.crd import Contrast
from workers.methods.fitnets import make_regressor
from workers.networks import build
from workers.networks.preprocess import Preprocessed

# What the logged loss is made of: weights of the logged terms.
LOSSES = {
    "at": (
        {"name": "at", "beta": 300, "soft_weight": 2, "temperature": 3},
        {"hard_loss": 1, "attention_loss": 300, "soft_loss": 18},
    ),
    "rkd": (
        {"name": "rkd", "hard_weight": 0.5},
        {"hard_loss": 0.5, "distance_loss": 25, "angle_loss": 50},
    ),
    "crd": ({"name": "crd", "negatives": 200}, {"hard_loss": 1, "contrast_loss": 0.8}),
    "fitnets in one stage": (
        {"name": "fitnets", "one_stage": True},
        {"hard_loss": 1, "hint_loss": 100},
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_the_sum_of_its_terms(run, name) -> None:
    method, weights = LOSSES[name]
    training = {"log_every": 1}
    _, events = run(method=method, images=True, epochs=2, training=training, baseline=None)
    curves = {term: events.curve(f"train/{term}") for term in weights}
    losses = events.curve("train/loss")
    assert len(losses) == 42
    for step, loss in losses.items():
        parts = sum(weight * curves[term][step] for term, weight in weights.items())
        assert loss == pytest.approx(parts, rel=1e-4)
    assert events.curve("train/agreement")


def test_fitnets_teaches_the_guided_layer_first_and_only_up_to_it(run) -> None:
    student = {**STUDENT, "hidden": [32, 24], "dropout": 0.0}
    method = {"name": "fitnets", "hint_epochs": 4, "guided": "activations.0"}
    out, events = run(
        method=method, student=student, epochs=10, baseline=None, select={"metric": "last"}
    )
    hints = list(events.curve("hint/validation/hint_loss").values())
    assert len(hints) == 4
    assert hints[-1] < 0.75 * hints[0]
    # Its first stage moved what lies up to the guided layer, and nothing above it.
    fresh = build(MLP.model_validate(student), seed=mix("weights", 0, 0)).state_dict()
    staged = load_file(out / "stage-0.safetensors")
    moved = {n for n, value in fresh.items() if not value.equal(staged[f"student.network.{n}"])}
    assert moved == {"layers.0.weight", "layers.0.bias"}
    assert "regressor.0.weight" in staged
    # The second stage starts from there, and hands on a plain student.
    assert max(events.curve("hint/train/loss")) < min(events.curve("train/loss"))
    final = load_file(out / "student.safetensors")
    assert set(final) == set(fresh)
    near = (final["layers.0.weight"] - staged["student.network.layers.0.weight"]).norm()
    assert near < (final["layers.0.weight"] - fresh["layers.0.weight"]).norm()


def test_fitnets_second_stage_lowers_lambda_and_has_no_factor_of_tau(run) -> None:
    _, events = run(
        method={"name": "fitnets", "hint_epochs": 1},
        epochs=5,
        training={"log_every": 1},
        baseline=None,
    )
    losses = events.curve("train/loss")
    soft, hard = events.curve("train/soft_loss"), events.curve("train/hard_loss")
    assert len(losses) == 84
    for done, step in enumerate(sorted(losses)):
        weight = 4 - 3 * done / 84
        assert losses[step] == pytest.approx(hard[step] + weight * soft[step], rel=1e-4)


def test_fsp_brings_the_gram_matrices_together_before_the_labels(run) -> None:
    out, events = run(method={"name": "fsp"}, images=True, epochs=9)
    hints = list(events.curve("hint/validation/hint_loss").values())
    assert len(hints) == 3
    assert hints[-1] < hints[0]
    assert events.curve("train/loss") == events.curve("train/hard_loss")
    told = json.loads((out / "report.json").read_text())
    assert told["student"]["accuracy"] > 0.8
    fractions = [event["fraction"] for event in events.all("progress")]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_both_stages_together_take_the_baseline_s_epochs() -> None:
    method = FitNets()
    assert method.stage_epochs(240) == (80, 160)
    assert method.stage_epochs(2) == (1, 1)
    assert FitNets(one_stage=True).stage_epochs(1) == (1,)
    with pytest.raises(ValueError, match="none would be left"):
        method.stage_epochs(1)
    assert FitNets(hint_optimizer={"lr": 0.01}).hint_optimizer.name == "adam"
    steps = Training(epochs=240, schedule=Schedule(name="step", milestones=(150, 180, 210)))
    assert steps.shortened(80).schedule.milestones == (50, 60, 70)
    assert Training(epochs=9, schedule=Schedule(warmup_epochs=3)).shortened(
        3
    ).schedule.warmup_epochs == pytest.approx(1)


@pytest.mark.parametrize(
    ("hint", "guided"), [((5, 4, 3), (2, 4, 3)), ((5, 4, 3), (2, 6, 8)), ((7,), (3,))]
)
def test_a_regressor_makes_the_hint_s_shape(hint, guided) -> None:
    for rectified in (True, False):
        regressor = make_regressor(hint, guided, rectified=rectified, normed=False)
        out = regressor(torch.randn(2, *guided))
        assert out.shape == (2, *hint)
        assert bool((out >= 0).all()) is rectified
    assert any(
        isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)
        for m in make_regressor(hint, guided, rectified=True, normed=True)
    )


def contrast(**parameters) -> Contrast:
    torch.manual_seed(0)
    student = Preprocessed(build(MLP(inputs=4, hidden=(3,), classes=2), seed=1))
    return Contrast(student, (5, 3), 20, CRD(dimensions=6, **parameters)).double()


def test_crd_by_hand() -> None:
    trainee = contrast(tau=0.5, momentum=0.25)
    theirs, own = torch.randn(2, 2, 8, dtype=torch.float64).split([1, 1])
    theirs, own = theirs[0, :, :5], own[0, :, :3]
    index, negatives = torch.tensor([3, 7]), torch.tensor([[0, 1, 9], [2, 9, 9]])
    memory_t, memory_s = trainee.memory_t.clone(), trainee.memory_s.clone()
    loss = trainee.loss(theirs, own, index, negatives)

    expected, constants = 0.0, []
    v_t = torch.nn.functional.normalize(trainee.embed_t(theirs).detach(), dim=1)
    v_s = torch.nn.functional.normalize(trainee.embed_s(own).detach(), dim=1)
    for v, memory in ((v_s, memory_t), (v_t, memory_s)):
        scores = torch.stack(
            [
                torch.stack([(v[n] @ memory[k] / 0.5).exp() for k in (i, *row)])
                for n, (i, row) in enumerate(zip(index.tolist(), negatives.tolist(), strict=True))
            ]
        )
        constants.append(scores.mean() * 20)
        s, prior = scores / constants[-1], 3 / 20
        expected -= (s[:, 0] / (s[:, 0] + prior)).log().sum() / 2
        expected -= (prior / (s[:, 1:] + prior)).log().sum() / 2
    torch.testing.assert_close(loss, expected)
    loss.backward()  # both embeddings learn
    assert trainee.embed_t.weight.grad.abs().sum() > 0
    assert trainee.embed_s.weight.grad.abs().sum() > 0

    # Z and the memories move after the step; Z never again.
    assert trainee.z.eq(0).all()
    trainee.remember()
    torch.testing.assert_close(trainee.z, torch.stack(constants))
    mixed = 0.25 * memory_t[3] + 0.75 * v_t[0]
    torch.testing.assert_close(trainee.memory_t[3], mixed / mixed.norm())
    assert trainee.memory_t[4].equal(memory_t[4])
    z = trainee.z.clone()
    trainee.loss(theirs.flip(0), own, index, negatives)
    trainee.remember()
    assert trainee.z.equal(z)


def test_crd_keeps_memory_and_constants_in_its_state_and_trains_the_teacher_s_embedding(
    run,
) -> None:
    short, _ = run("a", method={"name": "crd", "negatives": 100}, epochs=1, baseline=None)
    long, events = run("b", method={"name": "crd", "negatives": 100}, epochs=8, baseline=None)
    curve = events.curve("train/contrast_loss")
    assert curve[max(curve)] < curve[min(curve)]
    one, eight = (load_file(out / "stage-0.safetensors") for out in (short, long))
    assert one["z"].gt(0).all()
    assert one["z"].equal(eight["z"])
    for name in ("memory_t", "memory_s"):
        assert one[name].shape[1] == 128
        torch.testing.assert_close(one[name].norm(dim=1), torch.ones(len(one[name])))
    assert not one["embed_t.weight"].equal(eight["embed_t.weight"])
    assert set(load_file(long / "student.safetensors")) == {
        f"layers.{i}.{part}" for i in (0, 1) for part in ("weight", "bias")
    }


def test_views_are_the_same_for_both(digits, teacher_file, tmp_path) -> None:
    """A student that is its teacher has nothing to learn from it, whatever the augmentation."""
    file = job_file(
        digits,
        [teacher_file],
        student=TEACHER,
        method={"name": "rkd", "hard_weight": 0},
        training={
            "augment": [{"name": "shift", "pixels": 2}],
            "optimizer": {"name": "sgd", "lr": 1e-9},
            "log_every": 1,
        },
        epochs=1,
        baseline=None,
    )
    student = file.job.student.model_copy(update={"file": "file_s"})
    job = file.job.model_copy(update={"student": student})
    file = file.model_copy(update={"job": job, "files": {"file_s": teacher_file}})
    recorder = Recorder()
    run_job(file, digits, tmp_path, Cache(tmp_path / "cache", 10**9), recorder)
    losses = recorder.curve("train/distance_loss")
    assert len(losses) == 21
    assert max(losses.values()) < 1e-9


@pytest.mark.parametrize("name", ["at", "rkd", "crd"])
def test_no_labels_are_needed_without_weight_on_them(name) -> None:
    assert METHODS[name]().needs_labels
    assert not METHODS[name](hard_weight=0).needs_labels


@pytest.mark.parametrize("method", [{"name": "rkd", "student_layer": "x"}, {"name": "at"}])
def test_a_job_file_is_refused_like_a_request(run, method) -> None:
    with pytest.raises(Refused, match=r"unknown_layer|no_matching_layers") as caught:
        run(method=method)
    assert caught.value.pointer.startswith("/method")


def test_weights_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot both be 0"):
        RKD(distance_weight=0, angle_weight=0)
    with pytest.raises(ValueError, match="greater than 0"):
        AT(beta=0)
