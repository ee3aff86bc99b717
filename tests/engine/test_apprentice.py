"""Apprentices: the loss by hand, the traps, the three schemes, and what is handed on."""

import importlib.util
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.numpy import load_file
from torch import Tensor, nn

from app.spec.methods import KD, Apprentice
from app.spec.networks import MLP, NetworkSpec
from app.spec.quantization import Quantization
from tests.engine.conftest import IMAGE_STUDENT, TEACHER
from workers.data.prepared import Prepared
from workers.engine.bench import Data
from workers.engine.device import Arithmetic
from workers.engine.evaluate import predict
from workers.engine.quantize import after_training, calibrate, through_rounding
from workers.engine.stages import Batch, Clock
from workers.methods.apprentice import apprentice_terms, joint_objective
from workers.networks import build
from workers.networks.preprocess import Preprocessed
from workers.networks.store import load_network

DEEP = {"family": "mlp", "inputs": 64, "hidden": [24, 20, 16], "classes": 10}
MIDDLE = ["layers.1", "layers.2"]
CLOCK = Clock(seed=0, stage=0, step=0, steps=10, steps_per_epoch=5, epochs=2)


class Fixed(nn.Module):
    """A network that says the same whatever it sees."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.z = nn.Parameter(torch.randn(6, 5, generator=generator, dtype=torch.float64))

    def forward(self, _x: Tensor) -> Tensor:
        return self.z


LABELS = torch.tensor([0, 3, 1, 4, 4, 2])
BATCH = Batch(torch.zeros(6, 4), LABELS, torch.arange(6), 0)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cross_entropy(p: np.ndarray, q: np.ndarray) -> float:
    return float(-(p * np.log(q)).sum(axis=1).mean())


def test_the_joint_loss_and_its_gradients_by_hand() -> None:
    """alpha CE(y, p_T) + beta CE(y, p_A) + gamma CE(p_T, p_A), less the entropy of p_T, which is
    held fixed: the last term teaches the student alone."""
    student, teacher = Fixed(1), Fixed(2)
    method = Apprentice(scheme="a", alpha=0.7, beta=0.3, gamma=1.5)
    terms = joint_objective(method, student, teacher)(BATCH, CLOCK)
    terms["loss"].backward()

    p_a, p_t = (softmax(one.z.detach().numpy()) for one in (student, teacher))
    y = np.eye(5)[LABELS]
    by_hand = 0.7 * cross_entropy(y, p_t) + 0.3 * cross_entropy(y, p_a)
    by_hand += 1.5 * (cross_entropy(p_t, p_a) - cross_entropy(p_t, p_t))
    assert terms["loss"].item() == pytest.approx(by_hand, rel=1e-12)
    np.testing.assert_allclose(teacher.z.grad, 0.7 * (p_t - y) / 6, rtol=1e-10)
    np.testing.assert_allclose(
        student.z.grad, (0.3 * (p_a - y) + 1.5 * (p_a - p_t)) / 6, rtol=1e-10, atol=1e-15
    )


def test_the_loss_beside_a_trained_teacher_by_hand() -> None:
    """At another T: gamma T^2 KL(p_T || p_A)."""
    student, z_t = Fixed(1), Fixed(2).z.detach()
    method = Apprentice(beta=0.25, gamma=2.0, temperature=3.0)
    log_p = (z_t / 3).log_softmax(dim=1)
    loss = apprentice_terms(method, student.z, log_p, LABELS, CLOCK)["loss"]
    loss.backward()
    p_a, y = softmax(student.z.detach().numpy()), np.eye(5)[LABELS]
    hot_a, hot_t = (softmax(z.detach().numpy() / 3) for z in (student.z, z_t))
    soft = cross_entropy(hot_t, hot_a) - cross_entropy(hot_t, hot_t)
    assert loss.item() == pytest.approx(0.25 * cross_entropy(y, p_a) + 18 * soft, rel=1e-12)
    expected = (0.25 * (p_a - y) + 2 * 3 * (hot_a - hot_t)) / 6
    np.testing.assert_allclose(student.z.grad, expected, rtol=1e-10, atol=1e-15)


def test_the_teacher_itself_has_no_soft_loss_and_needs_no_labels() -> None:
    student = Fixed(1)
    log_p = student.z.detach().log_softmax(dim=1)
    method = Apprentice(beta=0)
    assert not method.needs_labels
    terms = apprentice_terms(method, student.z, log_p, None, CLOCK)
    assert terms["loss"].item() == pytest.approx(0, abs=1e-12)
    assert terms.keys() == {"loss", "soft_loss", "agreement"}


def report(out: Path) -> dict[str, Any]:
    return json.loads((out / "report.json").read_text())


def dtypes(path: Path) -> dict[str, str]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118


def accuracy_of_the_file(out: Path, digits: Any, network: dict[str, Any]) -> float:
    """Of the file, as anybody would load it, on the test split."""
    spec = TypeAdapter(NetworkSpec).validate_python(network)
    student = Preprocessed(
        load_network(spec, out / "student.safetensors"), **digits.facts.preprocess.model_dump()
    )
    split = Data(Prepared.open(digits.file), torch.device("cpu")).split("test")
    classes = predict(student, split.inputs, Arithmetic(torch.device("cpu"), "fp32")).argmax(dim=1)
    assert (classes.numpy() == predictions(out)).all()
    return float((classes == split.labels).double().mean())


def predictions(out: Path) -> np.ndarray:
    return pq.read_table(out / "predictions.parquet")["student"].to_numpy()


def answers_of_the_bundle(out: Path, digits) -> np.ndarray:
    """On the test split as it is stored, by its own loader."""
    with zipfile.ZipFile(out / "student.zip") as archive:
        archive.extractall(out / "elsewhere")
    found = importlib.util.spec_from_file_location("load", out / "elsewhere" / "load.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    with torch.inference_mode():
        return module.load()(Prepared.open(digits.file).split("test").x).argmax(1).numpy()


@pytest.mark.parametrize("images", [False, True], ids=["mlp", "convnet"])
@pytest.mark.parametrize(
    ("scheme", "quantize"),
    [
        ("a", {"weights": 8, "activations": 7}),
        ("b", {"weights": 4, "activations": None}),
        ("c", {"weights": 4}),
        ("c", {"weights": 4, "first_and_last": True}),
    ],
)
def test_each_scheme_hands_on_what_was_evaluated(run, digits, scheme, quantize, images) -> None:
    method = {"name": "apprentice", "scheme": scheme, "quantize": quantize}
    teachers = {"teachers": []} if scheme == "a" else {}
    network = {**(IMAGE_STUDENT if images else DEEP), "dropout": 0.0}
    fields = {"images": images} if scheme != "a" else {}
    out, events = run(method=method, student=network, epochs=8, **fields, **teachers)

    told, form = report(out), Quantization.model_validate(quantize)
    layers = form.layers(TypeAdapter(NetworkSpec).validate_python(network))
    whole = dtypes(out / "student.safetensors")
    for layer in layers:
        assert whole[f"{layer}.weight"] == ("I8" if form.weights == 8 else "U8")
    plain = {name for name in whole if name.rpartition(".")[0] not in layers}
    assert {whole[name] for name in plain} <= {"F32"}
    assert bool(plain) is not form.first_and_last
    assert told["quantization"]["layers"] == list(layers)
    assert json.loads((out / "network.json").read_text())["quantization"] == form.model_dump()
    accuracy = accuracy_of_the_file(out, digits, network)
    assert told["student"]["accuracy"] == pytest.approx(accuracy)
    assert accuracy > 0.5
    assert (answers_of_the_bundle(out, digits) == predictions(out)).all()
    stored = sum(value.nbytes for value in load_file(out / "student.safetensors").values())
    assert told["student"]["bytes"] == stored
    assert told["verdict"] != "no baseline"
    assert events.all("progress")[-1]["fraction"] == 1

    if scheme == "c":
        before = told["full_precision"]
        assert told["student"]["bytes"] < before["bytes"] == 4 * before["parameters"]
        small, large = (out / f"{name}.safetensors" for name in ("student", "full_precision"))
        assert small.stat().st_size < large.stat().st_size
        assert set(dtypes(large).values()) == {"F32"}
        assert "full_precision/train/loss" in {
            point[0] for one in events.all("metrics") for point in one["points"]
        }
        gap = told["student"]["accuracy"] - before["accuracy"]
        assert told["quantization"]["difference"]["accuracy"] == pytest.approx(gap)
        assert "| full precision |" in (out / "card.md").read_text()
    else:
        assert "full_precision" not in told


def test_the_first_and_last_layers_are_not_quantised(run) -> None:
    out, _ = run(method={"name": "apprentice"}, student=DEEP, baseline=None)
    whole = dtypes(out / "student.safetensors")
    assert {name for name, dtype in whole.items() if dtype == "I8"} == {
        f"{layer}.weight" for layer in MIDDLE
    }
    assert whole["layers.0.weight"] == whole["layers.3.weight"] == "F32"


def test_a_network_of_a_first_and_a_last_layer_is_refused() -> None:
    ((pointer, code, detail),) = Apprentice().flaws(MLP(inputs=64, hidden=(32,)), [])
    assert (pointer, code) == ("/method/quantize", "nothing_to_quantise")
    assert "first_and_last" in detail
    whole = Apprentice(quantize=Quantization(first_and_last=True))
    assert not list(whole.flaws(MLP(inputs=64, hidden=()), []))


def test_scheme_c_starts_from_the_full_precision_student(run) -> None:
    """At next to no rate, 8 bits change next to nothing."""
    method = {"name": "apprentice", "fine_tune_lr_scale": 1e-9}
    out, _ = run(method=method, student=DEEP, epochs=8, baseline=None)
    told = report(out)
    assert told["quantization"]["agreement"] > 0.98
    before, after = (load_file(out / f"{n}.safetensors") for n in ("full_precision", "student"))
    assert np.allclose(before["layers.0.weight"], after["layers.0.weight"], atol=1e-6)
    rounded = after["layers.1.weight"] * after["layers.1.weight_scale"][:, None]
    step = after["layers.1.weight_scale"].max()
    assert abs(rounded - before["layers.1.weight"]).max() <= 0.51 * step


def test_it_fine_tunes_at_a_fraction_of_the_rate(run) -> None:
    """One plain step: the first bias moves by lr_scale times the rate."""
    fields = {
        "student": DEEP,
        "epochs": 2,
        "baseline": None,
        "training": {
            "batch_size": 4096,
            "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.0},
            "schedule": {"name": "constant"},
        },
        "select": {"metric": "last"},
    }
    biases = []
    for number, scale in enumerate((1e-9, 0.1, 0.2)):
        method = {"name": "apprentice", "fine_tune_lr_scale": scale}
        out, _ = run(f"s{number}", method=method, **fields)
        biases.append(load_file(out / "student.safetensors")["layers.3.bias"])
    start, one, two = biases
    assert abs(one - start).max() > 1e-5
    assert two - start == pytest.approx(2 * (one - start), rel=1e-2, abs=1e-7)


def test_training_through_rounding_helps_where_bits_are_few(run) -> None:
    """Three values a weight: rounding afterwards loses what training through it keeps."""
    fields = {"student": DEEP, "epochs": 16, "baseline": None}
    ternary = {"weights": 2}
    kd = {"name": "kd", "temperature": 1, "soft_weight": 0.5, "hard_weight": 0.5}
    network = {"network": DEEP, "quantize": ternary}
    out, _ = run("after", method=kd, whole_student=network, **fields)
    after = report(out)
    out, _ = run("through", method={"name": "apprentice", "quantize": ternary}, **fields)
    through = report(out)
    assert after["full_precision"]["accuracy"] > 0.85
    assert through["student"]["errors"] < after["student"]["errors"]


def test_the_baseline_is_quantised_alike_and_recalled(run, tmp_path) -> None:
    """A baseline at full precision would charge the bits to the teacher."""
    method = {"name": "apprentice", "quantize": {"weights": 4}}
    first, events = run("first", method=method, student=DEEP)
    (kept,) = (path for path in (tmp_path / "cache" / "baselines").rglob("*") if path.is_file())
    whole = dtypes(kept)
    assert whole["layers.1.weight"] == "U8"
    keys = {point[0] for one in events.all("metrics") for point in one["points"]}
    assert "baseline/0/full_precision/train/loss" in keys
    assert "baseline/0/train/loss" in keys
    assert "baseline/0/train/soft_loss" not in keys

    again, recalled = run("again", method={**method, "gamma": 0.4}, student=DEEP)
    assert report(again)["baseline"]["errors"] == report(first)["baseline"]["errors"]
    key = "baseline/0/validation/accuracy"
    assert recalled.curve(key) == events.curve(key)
    assert recalled.all("progress")[-1] == {
        **events.all("progress")[-1],
        "samples_per_s": 0.0,
        "eta_s": None,
    }


@pytest.mark.parametrize(
    ("name", "quantize", "images"),
    [
        ("kd", {"weights": 8}, False),
        ("supervised", {"weights": 4, "activations": None}, False),
        ("dml", {"weights": 8, "activations": 7}, False),
        ("at", {"weights": 8}, True),
    ],
)
def test_any_student_can_be_quantised_after(run, digits, name, quantize, images) -> None:
    network = {**(IMAGE_STUDENT if images else DEEP), "dropout": 0.0}
    fields = {"images": True} if images else {}
    if name == "supervised":
        fields["teachers"] = []
    whole = {"network": network, "quantize": quantize}
    out, _ = run(method={"name": name}, whole_student=whole, epochs=8, **fields)
    told = report(out)
    assert accuracy_of_the_file(out, digits, network) == told["student"]["accuracy"]
    assert told["student"]["bytes"] < told["full_precision"]["bytes"]
    assert told["quantization"]["agreement"] > 0.9
    assert "full_precision" in pq.read_table(out / "predictions.parquet").column_names


def test_a_quantised_student_teaches(run) -> None:
    """By its logits, its layers, and (as floats) its weights."""
    quantize = {"weights": 4}
    out, _ = run(
        "first", method={"name": "apprentice", "quantize": quantize}, student=DEEP, epochs=8
    )
    made = report(out)["student"]
    fields = {"teachers": [out / "student.safetensors"], "teacher": DEEP, "baseline": None}
    larger = {**DEEP, "hidden": [24, 24, 16]}
    for method, network in (
        ({"name": "kd"}, TEACHER),
        ({"name": "fitnets"}, DEEP),
        ({"name": "net2net", "noise": 0}, larger),
        ({"name": "specialists", "count": 2, "specialist_epochs": 1}, TEACHER),
    ):
        later, _ = run(method["name"], method=method, student=network, epochs=3, **fields)
        told = report(later)
        assert told["teacher"]["errors"] == made["errors"]
        assert told["teacher"]["bytes"] == made["bytes"]


def test_a_quantised_checkpoint_can_be_where_a_student_starts(run, tmp_path) -> None:
    quantize = {"weights": 8, "activations": None}
    method = {"name": "apprentice", "quantize": quantize}
    out, _ = run("first", method=method, student=DEEP, epochs=8, baseline=None)
    still = {"optimizer": {"name": "sgd", "lr": 1e-12, "momentum": 0.0}}
    later, _ = run(
        "later",
        whole_student={"network": DEEP, "file": "file_s"},
        update={"files": {"file_s": out / "student.safetensors"}},
        epochs=1,
        training=still,
        baseline=None,
    )
    assert report(later)["student"]["errors"] == report(out)["student"]["errors"]
    assert set(dtypes(later / "student.safetensors").values()) == {"F32"}


def test_the_bias_of_a_missing_class_is_repaired_on_integers_too(run) -> None:
    method = {"name": "apprentice", "quantize": {"first_and_last": True}}
    out, _ = run(
        method=method, student=DEEP, epochs=8, baseline=None, transfer={"exclude_classes": [3]}
    )
    repair = report(out)["bias_repair"]
    assert repair["after"]["errors"] <= repair["before"]["errors"]
    assert report(out)["student"]["errors"] == repair["after"]["errors"]


def test_calibration_holds_everything_seen_and_leaves_the_network_alone() -> None:
    network = Preprocessed(build(MLP(inputs=8, hidden=(6, 5), classes=3, dropout=0.5), seed=0))
    rounding = through_rounding(network, Quantization())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    inputs = torch.randn(700, 8, generator=torch.Generator().manual_seed(1))
    state = torch.get_rng_state()
    calibrate(rounding, inputs)
    assert torch.equal(torch.get_rng_state(), state)
    hidden = torch.relu(network.network.layers[0](inputs))
    layer = rounding.network.get_submodule("layers.1")
    assert (layer.low, float(layer.high)) == (0, pytest.approx(hidden.max().item()))
    assert rounding.training
    after_training(network, Quantization(weights=4), inputs)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_control_learns_the_same_way_without_a_teacher() -> None:
    form = Quantization(weights=4)
    control = Apprentice(scheme="c", quantize=form, fine_tune_epochs=3, temperature=4.0).control
    assert control.stage_epochs(10) == (7, 3)
    assert (control.gamma, control.beta, control.quantize) == (0, 1, form)
    assert control.teacher_bounds == (0, 0)
    assert Apprentice(scheme="a").control.stage_epochs(10) == (10,)
    assert KD().control is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"beta": 0, "gamma": 0}, "cannot both be 0"),
        ({"teacher_network": TEACHER}, "belongs to scheme a"),
        ({"quantize": {"weights": 3}}, "Input should be"),
        ({"scheme": "d"}, "'a', 'b' or 'c'"),
    ],
)
def test_impossible_parameters_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Apprentice.model_validate(fields)


def test_fine_tuning_takes_its_epochs_from_the_job() -> None:
    assert Apprentice().stage_epochs(20) == (15, 5)
    assert Apprentice().stage_epochs(2) == (1, 1)
    with pytest.raises(ValueError, match="none would be left"):
        Apprentice().stage_epochs(1)
    assert Apprentice(scheme="b").stage_epochs(1) == (1,)
