"""Which layers the API pairs, and which it refuses, before anything trains."""

from typing import Any

import httpx
import pytest

from app.spec.methods import AT, CRD, FSP, RKD, FitNets
from app.spec.networks import MLP, VGG, ConvNet, Network, ResNet, WideResNet
from tests.api.helpers import Rows, job_body

TEACHER = {"family": "convnet", "inputs": [1, 28, 28], "channels": [16, 32], "hidden": [64]}
STUDENT = {**TEACHER, "channels": [4, 32], "hidden": []}
PLAIN = {"family": "mlp", "inputs": 784, "hidden": [32]}
RECORDED = "logits"

PAIRS = [
    (FitNets(), ResNet(depth=56), ResNet(), [("layer2", "layer2")]),
    (FitNets(), VGG(depth=13), VGG(), [("block2", "block2")]),
    (FitNets(), ResNet(depth=32, width=4), VGG(), [("layer2", "block1")]),
    (FitNets(), VGG(depth=13), ResNet(), [("block2", "layer3")]),
    (FitNets(), MLP(), MLP(hidden=(800,)), [("activations.1", "activations.0")]),
    (FitNets(), VGG(), MLP(inputs=3072), [("pool", "activations.1")]),
    (FitNets(guided="layer1"), ResNet(depth=56), ResNet(), [("layer1", "layer1")]),
    (FitNets(hint="layer3", guided="layer1"), ResNet(), ResNet(), [("layer3", "layer1")]),
    (AT(), WideResNet(depth=40), WideResNet(), [(f"block{i}",) * 2 for i in (1, 2, 3)]),
    (AT(), VGG(depth=13), VGG(), [(f"block{i}",) * 2 for i in (1, 2, 3, 4)]),
    (AT(), VGG(depth=13), ResNet(), [("block1", "layer2"), ("block4", "layer3")]),
    (AT(teacher_layers=("layer3",)), ResNet(), WideResNet(), [("layer3", "block3")]),
    (FSP(), ResNet(), ResNet(), [(n, n) for n in ("relu", "layer1", "layer2", "layer3")]),
    (FSP(), MLP(), MLP(), [("activations.0",) * 2, ("activations.1",) * 2]),
    (RKD(), ConvNet(), ConvNet(hidden=()), [("head.activations.0", "stages.1")]),
    (CRD(), ResNet(), MLP(inputs=3072), [("pool", "activations.1")]),
]


@pytest.mark.parametrize(("method", "teacher", "student", "pairs"), PAIRS)
def test_layers_that_nobody_names(
    method: Any, teacher: Network, student: Network, pairs: list[tuple[str, str]]
) -> None:
    assert list(method.pairs(teacher, student)) == pairs
    assert list(method.flaws(student, [teacher])) == []


@pytest.mark.parametrize(
    ("method", "student", "pointer", "code", "named"),
    [
        (
            {"name": "fitnets", "hint": "layer9"},
            STUDENT,
            "/method/hint",
            "unknown_layer",
            ("'layer9'", "stages.0 (16 x 14 x 14)"),
        ),
        (
            {"name": "fitnets", "hint": "stages.0", "guided": "stages.1"},
            STUDENT,
            "/method",
            "layer_shape_mismatch",
            ("16 x 14 x 14", "32 x 7 x 7", "at least as high and wide"),
        ),
        (
            {"name": "fitnets", "hint": "stages.0", "guided": "activations.0"},
            PLAIN,
            "/method",
            "layer_shape_mismatch",
            ("16 x 14 x 14", "activations.0 32"),
        ),
        (
            {"name": "at", "student_layers": ["stages.0", "head"]},
            STUDENT,
            "/method/student_layers/1",
            "unknown_layer",
            ("'head'",),
        ),
        (
            {"name": "at"},
            PLAIN,
            "/method",
            "no_matching_layers",
            ("stages.1 (32 x 7 x 7)", "activations.0 (32)"),
        ),
        (
            {"name": "fsp"},
            STUDENT,
            "/method",
            "layer_shape_mismatch",
            ("16 x 14 x 14", "4 x 14 x 14"),
        ),
        (
            {"name": "rkd"},
            {**PLAIN, "hidden": []},
            "/method",
            "no_matching_layers",
            ("student's none",),
        ),
    ],
)
def test_layers_that_cannot_match_are_refused(
    api: httpx.Client,
    rows: Rows,
    method: dict[str, Any],
    student: dict[str, Any],
    pointer: str,
    code: str,
    named: tuple[str, ...],
) -> None:
    body = job_body(
        rows, teachers=[rows.teacher(network=TEACHER)], method=method, student={"network": student}
    )
    answer = api.post("/jobs", json=body)
    assert answer.status_code == 422, answer.text
    error = answer.json()["errors"][0]
    assert (error["pointer"], error["code"]) == (pointer, code)
    for text in named:
        assert text in error["detail"]


def test_recorded_outputs_have_no_layers(api: httpx.Client, rows: Rows) -> None:
    dataset = rows.dataset(teacher_outputs=RECORDED)
    body = {**job_body(rows, dataset=dataset, method={"name": "crd"}), "teachers": []}
    answer = api.post("/jobs", json=body)
    assert answer.status_code == 422, answer.text
    codes = [error["code"] for error in answer.json()["errors"]]
    assert "checkpoint_required" in codes


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"method": {"name": "fitnets", "hint_epochs": 20}}, "none would be left"),
        ({"method": {"name": "fsp"}, "training": {"epochs": 1}}, "none would be left"),
        ({"method": {"name": "fsp", "teacher_layers": ["stages.0"]}}, "must name 2 or more"),
        (
            {"method": {"name": "at", "teacher_layers": ["a", "b"], "student_layers": ["a"]}},
            "as many layers each",
        ),
        ({"method": {"name": "at", "teacher_layers": ["a", "a"]}}, "names a layer twice"),
    ],
)
def test_parameters_that_contradict_each_other(
    api: httpx.Client, rows: Rows, changes: dict[str, Any], detail: str
) -> None:
    answer = api.post("/jobs", json=job_body(rows, **changes))
    assert answer.status_code == 422
    assert detail in answer.text


def test_a_teacher_s_listed_layers_are_those_that_may_be_named(
    api: httpx.Client, rows: Rows
) -> None:
    teacher = rows.teacher(network=TEACHER)
    for name in ConvNet.model_validate(TEACHER).taps:
        method = {"name": "rkd", "teacher_layer": name, "student_layer": "stages.0"}
        body = job_body(rows, teachers=[teacher], method=method, student={"network": STUDENT})
        assert api.post("/jobs?validate_only=true", json=body).status_code == 200
    # Two stages share the epochs of one: no more is estimated, and none is hidden.
    told = {}
    for name in ("fitnets", "kd"):
        body = job_body(
            rows, teachers=[teacher], method={"name": name}, student={"network": STUDENT}
        )
        told[name] = api.post("/jobs?validate_only=true", json=body).json()["estimate"]
    assert told["fitnets"]["train_flops"] == told["kd"]["train_flops"]
