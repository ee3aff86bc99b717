"""A network written by hand on examples written by hand: every number is known before."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from app.spec.dataset import DatasetSpec
from app.spec.jobfile import PreparedFile, TeacherFile
from workers.data.inspect import inspect_dataset
from workers.engine import statistics
from workers.engine.evaluation import CONFUSIONS, confusions, evaluate_checkpoint

CPU = torch.device("cpu")


def test_bins_by_hand() -> None:
    confidence = np.array([0.99, 0.97, 0.55, 0.54, 0.0])
    right = np.array([True, False, True, True, False])
    bins = statistics.reliability(confidence, right)
    assert len(bins) == statistics.BINS
    assert (bins[0].low, bins[-1].high) == (0.0, 1.0)
    assert {i: part.examples for i, part in enumerate(bins) if part.examples} == {0: 1, 8: 2, 14: 2}
    assert bins[14].confidence == pytest.approx(0.98)
    assert bins[14].accuracy == 0.5
    assert bins[8].accuracy == 1.0
    assert bins[3].confidence is bins[3].accuracy is None


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_calibration_error_is_what_the_bins_show(answers: list[tuple[float, bool]]) -> None:
    confidence = np.array([c for c, _ in answers])
    right = np.array([r for _, r in answers])
    bins = statistics.reliability(confidence, right)
    assert sum(part.examples for part in bins) == len(answers)
    gaps = [part.examples * abs((part.confidence or 0.0) - (part.accuracy or 0.0)) for part in bins]
    error = statistics.calibration_error(confidence, right)
    assert error == pytest.approx(sum(gaps) / len(answers))


def test_confusions_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    predicted = np.array([1, 1, 0, 0, 1, 0, 0, 0])
    assert confusions(labels, predicted) == [
        {"label": 2, "predicted": 0, "examples": 3},
        {"label": 0, "predicted": 1, "examples": 2},
        {"label": 1, "predicted": 0, "examples": 1},
    ]
    assert confusions(labels, labels) == []
    many = np.arange(3 * CONFUSIONS)
    assert len(confusions(many, many + 1)) == CONFUSIONS


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedFile:
    """Points on a line, labelled by their sign, but for two of the eight in `test`."""
    x = np.array([[-4.0], [-3], [-2], [-1], [1], [2], [3], [4]], np.float32)
    y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    wrong = y.copy()
    wrong[[0, 7]] = [1, 0]
    archive = tmp_path / "d.npz"
    with io.BytesIO() as buffer:
        np.savez(buffer, x_train=x, y_train=y, x_test=x, y_test=wrong)
        archive.write_bytes(buffer.getvalue())
    spec = DatasetSpec.model_validate(
        {
            "name": "line",
            "source": {"kind": "file", "file": "file_0"},
            "normalize": "none",
            "splits": {"validation": 0},
            "class_names": ["minus", "plus"],
        }
    )
    facts = inspect_dataset(archive, spec, tmp_path / "prepared")
    return PreparedFile(file=tmp_path / "prepared", facts=facts)


def subject(tmp_path: Path, **more: object) -> TeacherFile:
    """Logits (-x, x): the probability of `plus` is 1 / (1 + exp(-2x))."""
    weights = {
        "layers.0.weight": np.array([[-1.0], [1.0]], np.float32),
        "layers.0.bias": np.zeros(2, np.float32),
    }
    save_file(weights, tmp_path / "weights.safetensors")
    network = {"family": "mlp", "inputs": 1, "hidden": [], "classes": 2}
    return TeacherFile.model_validate(
        {"network": network, "file": tmp_path / "weights.safetensors", **more}
    )


def test_every_number_of_a_network_by_hand(tmp_path: Path, prepared: PreparedFile) -> None:
    result = evaluate_checkpoint(subject(tmp_path), prepared, "test", None, CPU)
    assert (result["accuracy"], result["errors"], result["examples"]) == (0.75, 2, 8)
    assert result["interval"] == pytest.approx(statistics.wilson(6, 8))
    sure = [1 / (1 + math.exp(-2 * x)) for x in (1, 2, 3, 4)]
    nll = -2 * (sum(map(math.log, sure[:3])) + math.log(1 - sure[3])) / 8
    assert result["nll"] == pytest.approx(nll, rel=1e-5)
    by_bin: dict[int, list[float]] = {}
    for p, right in zip(sure, (1, 1, 1, 0), strict=True):
        by_bin.setdefault(min(int(p * 15), 14), []).append(p - right)
    ece = sum(abs(sum(gaps)) for gaps in by_bin.values()) / 4
    assert result["ece"] == pytest.approx(ece, rel=1e-4)
    assert [(one["class"], one["name"], one["errors"]) for one in result["per_class"]] == [
        (0, "minus", 1),
        (1, "plus", 1),
    ]
    assert result["confusions"] == [
        {"label": 0, "predicted": 1, "examples": 1},
        {"label": 1, "predicted": 0, "examples": 1},
    ]
    assert evaluate_checkpoint(subject(tmp_path), prepared, "train", None, CPU)["accuracy"] == 1


def test_a_network_brings_its_own_constants_and_names(
    tmp_path: Path, prepared: PreparedFile
) -> None:
    turned = subject(tmp_path, preprocess={"scale": -1.0, "mean": [0.0], "std": [1.0]})
    result = evaluate_checkpoint(turned, prepared, "train", ["a", "b"], CPU)
    assert result["accuracy"] == 0
    assert [one["name"] for one in result["per_class"]] == ["a", "b"]
