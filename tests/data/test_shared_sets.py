"""Real data sets through the readers."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.spec.dataset import DatasetSpec
from workers.data.inspect import inspect_dataset
from workers.data.prepared import Prepared

Spec = Callable[..., DatasetSpec]
pytestmark = pytest.mark.shared


def test_mnist(shared_data: Path, tmp_path: Path, spec: Spec) -> None:
    facts = inspect_dataset(shared_data / "mnist/mnist.npz", spec(), tmp_path / "mnist")
    assert facts.rows == {"train": 54_000, "validation": 6_000, "test": 10_000}
    assert (facts.classes, facts.feature_shape, facts.cut) == (10, (28, 28), ("validation",))
    np.testing.assert_allclose(facts.preprocess.mean, [0.1307], atol=2e-4)
    np.testing.assert_allclose(facts.preprocess.std, [0.3081], atol=2e-4)
    start = time.perf_counter()
    split = Prepared.open(tmp_path / "mnist").split("train")
    assert int(split.x[:10].max()) > 0
    assert time.perf_counter() - start < 0.25


def test_letter(shared_data: Path, tmp_path: Path, spec: Spec) -> None:
    facts = inspect_dataset(shared_data / "tabular/letter.npz", spec(), tmp_path / "letter")
    assert (facts.classes, facts.feature_shape, facts.feature_dtype) == (26, (16,), "float32")
    assert len(facts.preprocess.mean) == 16


def test_a_file_of_cifar_100(shared_data: Path, tmp_path: Path, spec: Spec) -> None:
    path = shared_data / "cifar100/test.parquet"
    facts = inspect_dataset({"train": [path], "test": [path]}, spec(), tmp_path / "cifar")
    assert facts.rows == {"train": 9_000, "validation": 1_000, "test": 10_000}
    assert (facts.classes, facts.feature_shape) == (100, (32, 32, 3))
    assert facts.class_balance == {
        "train": (90,) * 100,
        "validation": (10,) * 100,
        "test": (100,) * 100,
    }
    np.testing.assert_allclose(facts.preprocess.mean, [0.507, 0.487, 0.441], atol=0.01)


@pytest.mark.slow
def test_all_of_cifar_100(shared_data: Path, tmp_path: Path, spec: Spec) -> None:
    files = {
        "train": [shared_data / f"cifar100/train-{part}.parquet" for part in range(5)],
        "test": [shared_data / "cifar100/test.parquet"],
    }
    facts = inspect_dataset(files, spec(), tmp_path / "cifar")  # type: ignore[arg-type]
    assert facts.rows == {"train": 45_000, "validation": 5_000, "test": 10_000}
    np.testing.assert_allclose(facts.preprocess.mean, [0.5071, 0.4865, 0.4409], atol=5e-4)
