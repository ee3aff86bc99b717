"""A run that is stopped at any step and resumed ends byte for byte like an undisturbed one."""

import json

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from app.jobs.extend import WEIGHED
from app.spec.jobfile import Checkpoint, Deliverable
from app.spec.methods import METHODS
from tests.engine.conftest import IMAGE_STUDENT, Recorder
from workers.engine import checkpoint
from workers.engine.reporter import Stopped


def resumed(run, stops: list[int], **fields):
    """Runs a job, stopping it after so many further steps each time; (folder, all events)."""
    events = []
    update = {}
    for number, stop in enumerate([*stops, None]):
        recorder = Recorder(stop)
        try:
            out, _ = run(f"part{number}", recorder=recorder, update=update, **fields)
        except Stopped:
            assert stop is not None
        events += recorder.events
        deliverables = [fields_ for name, fields_ in events if name == "deliverable"]
        checkpoints = [fields_ for name, fields_ in events if name == "checkpoint"]
        update = {
            "deliverables": tuple(
                Deliverable(stage=d["stage"], file=d["file"], sha256=d["sha256"])
                for d in deliverables
            ),
            "checkpoint": Checkpoint(file=checkpoints[-1]["file"], sha256=checkpoints[-1]["sha256"])
            if checkpoints
            else None,
            "once": {
                fields_["name"]: fields_["file"]
                for name, fields_ in events
                if name == "artifact" and fields_["kind"] == "once"
            },
        }
    whole = Recorder()
    whole.events = events
    return out, whole


def test_the_time_of_every_attempt_is_told(run) -> None:
    """Two stages: one that was interrupted, and one that the last attempt finds delivered."""
    method = {"name": "born_again", "generations": 2}
    fields = {"method": method, "epochs": 3, "baseline": None}
    out, events = resumed(run, [21, 50], **fields)
    marks = [checkpoint.load(one["file"]) for one in events.all("checkpoint")]
    spent = [mark.document["seconds"] for mark in marks]
    assert [mark.stage for mark in marks] == [0, 1, 1]
    delivered = [_load_outcome(one["file"]) for one in events.all("deliverable")]
    assert delivered[0]["seconds"] > spent[0] > 0
    assert delivered[1]["seconds"] >= spent[2] > spent[1] > 0
    told = json.loads((out / "report.json").read_text())["student"]["train_seconds"]
    assert told == pytest.approx(sum(one["seconds"] for one in delivered))


def _load_outcome(path: str) -> dict[str, float]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["outcome"])


def test_settings_are_the_jobs_and_not_its_checkpoints(run) -> None:
    """A clone that goes on with another weight decay trains with it."""

    def sgd(decay: float) -> dict:
        return {"optimizer": {"name": "sgd", "lr": 0.05, "weight_decay": decay}}

    recorder = Recorder(30)
    with pytest.raises(Stopped):
        run("part", recorder=recorder, training=sgd(0), baseline=None)
    (mark,) = recorder.all("checkpoint")
    norms = []
    for decay in (0, 0.1):
        update = {"checkpoint": Checkpoint(file=mark["file"], sha256=mark["sha256"])}
        out, _ = run(f"{decay}", update=update, training=sgd(decay), baseline=None)
        weights = load_file(out / "student.safetensors")
        norms.append(sum(float(weight.square().sum()) for weight in weights.values()))
    assert norms[1] < 0.95 * norms[0]


VARIANTS = {
    "kd": {},
    "logits": {"method": {"name": "logits", "alpha": 0.5}},
    "supervised": {"method": {"name": "supervised", "label_smoothing": 0.1}, "teachers": []},
    "kd shifted, cosine temperature": {
        "method": {"name": "kd", "temperature": {"start": 8, "end": 1, "shape": "cosine"}},
        "training": {"augment": [{"name": "shift", "pixels": 1}]},
    },
    "sgd, step schedule, clipped": {
        "training": {
            "optimizer": {"name": "sgd", "lr": 0.1, "nesterov": True, "weight_decay": 1e-4},
            "schedule": {"name": "step", "milestones": [1, 2], "warmup_epochs": 0.5},
            "clip_norm": 1.0,
        }
    },
    "bf16": {"training": {"precision": "bf16"}},
    "fp16": {"training": {"precision": "fp16"}},
    "three seeds": {"baseline": {"seeds": 3}, "epochs": 1},
    "dkd": {"method": {"name": "dkd", "warmup_epochs": 2}},
    **{name: {"method": {"name": name}} for name in ("dist", "nkd", "wttm", "policy")},
    "dml, three peers": {"method": {"name": "dml", "peers": 3}, "teachers": []},
    "dml, fp16, clipped, with a teacher": {
        "method": {"name": "dml"},
        "training": {"precision": "fp16", "clip_norm": 1.0},
    },
    "born_again": {"method": {"name": "born_again"}, "epochs": 1},
    "born_again, dkpp, shifted": {
        "method": {"name": "born_again", "generations": 2, "treatment": "dkpp", "hard_weight": 1},
        "training": {"augment": [{"name": "shift", "pixels": 1}]},
        "epochs": 1,
    },
    "codistillation": {
        "method": {"name": "codistillation", "exchange_steps": 4, "burn_in_epochs": 0.5},
        "teachers": [],
    },
    **{
        name: {
            "method": {"name": name},
            "teachers": [],
            "student": {"family": "mlp", "inputs": 64, "hidden": [16, 12], "dropout": 0.1},
        }
        for name in ("one", "ffl", "ensemblenet")
    },
    "specialists": {"method": {"name": "specialists", "specialist_epochs": 1}},
    "convolutions": {"images": True},
    "fitnets": {"method": {"name": "fitnets"}},
    "fitnets in one stage": {"method": {"name": "fitnets", "one_stage": True}},
    "at": {"method": {"name": "at", "soft_weight": 1}, "images": True},
    "rkd": {"method": {"name": "rkd"}},
    "fsp": {"method": {"name": "fsp", "hint_epochs": 2}, "images": True},
    "crd": {"method": {"name": "crd", "negatives": 200}},
    "dataset_distillation": {
        "method": {"name": "dataset_distillation", "steps": 2, "passes": 2},
        "teachers": [],
    },
    "apprentice": {
        "method": {"name": "apprentice", "quantize": {"weights": 4}},
        "student": {"family": "mlp", "inputs": 64, "hidden": [24, 16], "dropout": 0.1},
    },
    "apprentice, jointly, convolutions": {
        "method": {"name": "apprentice", "scheme": "a", "quantize": {"activations": 7}},
        "teachers": [],
        "student": IMAGE_STUDENT,
    },
    "apprentice from scratch, ternary, shifted, bf16": {
        "method": {"name": "apprentice", "scheme": "b", "quantize": {"weights": 2}},
        "student": {"family": "mlp", "inputs": 64, "hidden": [24, 16]},
        "training": {"augment": [{"name": "shift", "pixels": 1}], "precision": "bf16"},
    },
    "kd, quantised after": {
        "whole_student": {
            "network": {"family": "mlp", "inputs": 64, "hidden": [24, 16]},
            "quantize": {"weights": 8},
        },
    },
    "net2net": {
        "method": {"name": "net2net"},
        "student": {"family": "mlp", "inputs": 64, "hidden": [70, 64], "dropout": 0.1},
    },
}
CONTROLS = {
    "controls": {
        "baseline": {
            "controls": [
                {"name": name} for name in ("label_smoothing", "cwtm", "permuted", "random_teacher")
            ]
        }
    },
    "controls of generations, shifted": {
        "method": {"name": "born_again", "generations": 2},
        "baseline": {"controls": [{"name": "permuted"}, {"name": "random_teacher"}]},
        "training": {"augment": [{"name": "shift", "pixels": 1}]},
    },
    "controls of specialists, two seeds": {
        "method": {"name": "specialists", "specialist_epochs": 1},
        "baseline": {"seeds": 2, "controls": [{"name": "random_teacher"}]},
    },
}


@pytest.mark.parametrize("stops", [[1], [21], [30, 7], [22, 22, 22]], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_run_ends_with_the_same_bytes(run, variant, stops) -> None:
    resumes_to_the_same(run, stops, VARIANTS[variant])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_clone_may_weigh_its_loss_otherwise(run, variant) -> None:
    """What the API lets a clone change of its method fits the state of any checkpoint."""
    fields = {"epochs": 3, "baseline": None, **VARIANTS[variant]}
    method = METHODS[fields.get("method", {"name": "kd"})["name"]]
    before = method(**fields.get("method", {}))
    numbers = {name for name in WEIGHED if isinstance(getattr(before, name, None), float)}
    other = before.model_dump() | {name: getattr(before, name) / 2 + 0.25 for name in numbers}
    recorder = Recorder(2 if variant == "specialists" else 12)  # in the first stage
    with pytest.raises(Stopped):
        run("part", recorder=recorder, **fields)
    (mark,) = recorder.all("checkpoint")
    assert mark["stage"] == 0
    update = {"checkpoint": Checkpoint(file=mark["file"], sha256=mark["sha256"])}
    out, _ = run("on", update=update, **fields | {"method": other})
    assert (out / "student.safetensors").exists()


@pytest.mark.parametrize("stops", [[50, 9, 12], [70, 22], [90, 15]], ids=str)
@pytest.mark.parametrize("variant", CONTROLS)
def test_controls_too(run, variant, stops) -> None:
    resumes_to_the_same(run, stops, {"epochs": 1, **CONTROLS[variant]})


def resumes_to_the_same(run, stops: list[int], fields) -> None:
    fields = {"epochs": 3, **fields}
    plain, plain_events = run("plain", cache="one", **fields)
    again, events = resumed(run, stops, cache="two", **fields)
    for name in ("student.safetensors", "predictions.parquet", "network.json"):
        assert (plain / name).read_bytes() == (again / name).read_bytes()
    # Metrics are upserts on (key, step): the resumed run's curves must be the same ones.
    keys = {p[0] for f in plain_events.all("metrics") for p in f["points"]}
    for key in keys - {k for k in keys if k.endswith("samples_per_s")}:
        assert events.curve(key) == plain_events.curve(key), key
