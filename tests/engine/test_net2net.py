"""Net2Net through the engine: the student starts as its teacher."""

import json

import pytest
import torch
from safetensors.numpy import load_file

from app.spec.dataset import Preprocess
from app.spec.methods import Net2Net
from app.spec.networks import MLP
from app.spec.problems import Refused
from tests.engine.conftest import job_file
from workers.data.prepared import Prepared
from workers.engine.transfer import evenly
from workers.methods import net2net
from workers.networks.growth import grow

LARGER = {"family": "mlp", "inputs": 64, "hidden": [96, 64], "classes": 10}


def report(out) -> dict:
    return json.loads((out / "report.json").read_text())


def test_without_training_the_student_answers_as_its_teacher(run) -> None:
    still = {"optimizer": {"name": "sgd", "lr": 1e-12, "momentum": 0.0}}
    out, _ = run(method={"name": "net2net", "noise": 0}, student=LARGER, epochs=1, training=still)
    told = report(out)
    assert told["student"]["agreement"] == 1
    assert told["student"]["kl_to_teacher"] < 1e-6
    assert told["student"]["parameters"] > told["teacher"]["parameters"]
    assert told["baseline"]["accuracy"] < 0.5  # as large, and untrained
    assert told["verdict"] == "helped"
    shapes = {name: value.shape for name, value in load_file(out / "student.safetensors").items()}
    assert shapes["layers.0.weight"] == (96, 64)
    assert shapes["layers.1.weight"] == (64, 96)


def test_it_trains_at_a_fraction_of_the_rate(run) -> None:
    """One plain step: the first bias moves by lr_scale times the rate."""
    fields = {
        "student": LARGER,
        "epochs": 1,
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
        method = {"name": "net2net", "noise": 0, "lr_scale": scale}
        out, _ = run(f"s{number}", method=method, **fields)
        biases.append(load_file(out / "student.safetensors")["layers.2.bias"])
    start, one, two = biases
    assert abs(one - start).max() > 1e-5
    assert two - start == pytest.approx(2 * (one - start), rel=1e-2, abs=1e-7)


def test_a_teacher_that_sees_other_numbers_is_refused(run, digits, teacher_file) -> None:
    own = digits.facts.preprocess.model_dump() | {"mean": (0.9,)}
    teachers = job_file(digits, [teacher_file]).teachers
    entry = teachers["tch_0"].model_copy(update={"preprocess": Preprocess(**own)})
    update = {"teachers": {"tch_0": entry}}
    with pytest.raises(Refused, match="preprocess_mismatch"):
        run(method={"name": "net2net"}, student=LARGER, update=update)


def test_a_student_that_cannot_be_grown_is_a_flaw_that_names_shapes() -> None:
    flaws = Net2Net().flaws(MLP(inputs=64, hidden=(8,)), [MLP(inputs=64, hidden=(64,))])
    ((pointer, code, detail),) = flaws
    assert (pointer, code) == ("/student/network", "cannot_grow")
    assert "[64]" in detail
    assert "[8]" in detail


def test_new_layers_are_measured_on_examples_from_the_whole_transfer_set(
    run, digits, monkeypatch
) -> None:
    """A file may be sorted by class: its first rows are one class's."""
    seen = []

    def spy(teacher, spec, examples, **options):
        seen.append(examples)
        return grow(teacher, spec, examples, **options)

    monkeypatch.setattr(net2net, "grow", spy)
    monkeypatch.setattr(net2net, "STATISTICS", 5)
    data = Prepared.open(digits.file).split("train").x
    run(method={"name": "net2net"}, student=LARGER, epochs=1, baseline=None)
    pixels = data[evenly(len(data), 5)].flatten(1).float()
    ranks = seen[0].flatten(1).argsort(stable=True), pixels.argsort(stable=True)
    assert torch.equal(*ranks)  # the same images, normalised
    assert evenly(1438, 5).tolist() == [0, 359, 718, 1078, 1437]
    assert evenly(3, 5).tolist() == [0, 1, 2]
