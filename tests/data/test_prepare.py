"""Cuts, constants and the prepared file."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from app.spec.dataset import DatasetSpec
from app.spec.problems import Refused
from workers.data import prepared
from workers.data.cut import cut
from workers.data.inspect import inspect_dataset
from workers.data.normalize import preprocess
from workers.data.prepare import prepare
from workers.data.prepared import Prepared
from workers.data.raw import Raw, RawSplit

Spec = Callable[..., DatasetSpec]
Refusal = Callable[..., Refused]

DIGITS = {"source": {"kind": "builtin", "name": "digits"}}


def raw_of(x: np.ndarray, y: np.ndarray | None = None, **fields: Any) -> Raw:
    classes = None if y is None else int(y.max()) + 1
    return replace(Raw({"train": RawSplit(x, y, None)}, classes, None, None), **fields)


def test_digits(tmp_path: Path, spec: Spec) -> None:
    facts = inspect_dataset(None, spec(**DIGITS), tmp_path / "digits")
    assert facts.rows == {"train": 1294, "validation": 144, "test": 359}
    assert facts.cut == ("validation", "test")
    assert (facts.classes, facts.labelled) == (10, True)
    assert facts.class_names == tuple("0123456789")
    assert (facts.feature_shape, facts.feature_dtype) == ((8, 8), "uint8")
    assert facts.preprocess.scale == 1 / 16
    assert facts.class_balance is not None
    assert all(34 <= count <= 38 for count in facts.class_balance["test"])
    content = (tmp_path / "digits").read_bytes()
    assert facts.sha256 == hashlib.sha256(content).hexdigest()
    assert facts.bytes == len(content)
    assert len(facts.preview) == 8
    assert (facts.preview[0].image or "").startswith("data:image/png;base64,")
    split = Prepared.open(tmp_path / "digits").split("train")
    values = split.x.double() / 16
    np.testing.assert_allclose(facts.preprocess.mean, [values.mean()], rtol=1e-6)
    np.testing.assert_allclose(facts.preprocess.std, [values.std(correction=0)], rtol=1e-6)


def test_the_file_is_the_same_forever(tmp_path: Path, spec: Spec) -> None:
    """A change of this hash cuts every dataset anew: it needs a reason, and a line in the log."""
    facts = inspect_dataset(None, spec(**DIGITS), tmp_path / "digits")
    assert facts.sha256 == "bb3844520ff51c8842b919dd00200572fd4367d6225730d567f174fdd2181eb6"
    other = inspect_dataset(None, spec(**DIGITS, split_seed=1), tmp_path / "other")
    assert other.sha256 != facts.sha256


def test_the_cuts_part_the_rows(tmp_path: Path, spec: Spec) -> None:
    x = np.arange(100, dtype=np.float32)[:, None]
    facts = prepare(raw_of(x), spec(label=None), tmp_path / "a")
    assert facts.rows == {"train": 72, "validation": 8, "test": 20}
    assert (facts.labelled, facts.class_balance, facts.classes) == (False, None, None)
    opened = Prepared.open(tmp_path / "a")
    rows = {name: opened.split(name).x[:, 0] for name in opened.names}
    assert all((values[1:] > values[:-1]).all() for values in rows.values()), "order is kept"
    assert sorted(torch.cat(list(rows.values())).tolist()) == list(range(100))


@given(
    y=st.lists(st.integers(0, 5), min_size=2, max_size=80),
    fraction=st.floats(0.01, 0.5),
    seed=st.integers(0, 2**63 - 1),
)
@settings(deadline=None, max_examples=100)
def test_every_class_of_two_gives_one_and_keeps_one(
    y: list[int], fraction: float, seed: int
) -> None:
    labels = np.array(y)
    taken = cut(len(y), labels, fraction, seed, "test")
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        given_away = int(taken[labels == label].sum())
        if count == 1:
            assert given_away == 0
        else:
            assert 1 <= given_away < count
            assert given_away <= max(1, np.ceil(count * fraction))


def test_splits_that_the_source_has_are_left_alone(tmp_path: Path, spec: Spec) -> None:
    x = np.arange(20, dtype=np.uint8).reshape(20, 1, 1)
    part = RawSplit(x, np.zeros(20, np.int64), None)
    raw = Raw({"train": part, "test": part}, 1, None, None)
    facts = prepare(raw, spec(), tmp_path / "a")
    assert facts.cut == ("validation",)
    assert facts.rows == {"train": 18, "validation": 2, "test": 20}
    facts = prepare(raw, spec(splits={"validation": 0}), tmp_path / "a")
    assert facts.cut == ()
    assert facts.rows == {"train": 20, "validation": 0, "test": 20}
    assert Prepared.open(tmp_path / "a").names == ("train", "test")
    facts = prepare(raw_of(x), spec(splits={"test": 0, "validation": 0.5}), tmp_path / "a")
    assert facts.rows == {"train": 10, "validation": 10, "test": 0}


def test_too_few_rows_are_422_and_leave_nothing(
    tmp_path: Path, spec: Spec, refusal: Refusal
) -> None:
    for rows, y in ((1, None), (2, None), (3, np.arange(3))):
        raw = raw_of(np.zeros((rows, 2), np.float32), y)
        assert refusal(prepare, raw, spec(), tmp_path / "a").code == "too_few_rows"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("x", "scale", "channels"),
    [
        (np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), np.uint8), 1 / 255, (0, 1, 2)),
        (np.random.default_rng(0).integers(0, 65536, (50, 4, 4), np.uint16), 1 / 65535, None),
        (np.random.default_rng(0).normal(3, 9, (50, 7)).astype(np.float32), 1.0, (0,)),
    ],
)
def test_auto_is_a_mean_and_std_per_channel_or_feature(
    x: np.ndarray, scale: float, channels: tuple[int, ...] | None
) -> None:
    constants = preprocess(x, None, "auto", None)
    scaled = x.astype(np.float64) * scale
    np.testing.assert_allclose(constants.mean, np.atleast_1d(scaled.mean(channels)), rtol=1e-6)
    np.testing.assert_allclose(constants.std, np.atleast_1d(scaled.std(channels)), rtol=1e-6)
    assert constants.scale == scale
    assert preprocess(x, np.arange(9), "auto", None) == preprocess(x[:9], None, "auto", None)


def test_a_constant_feature_has_std_1() -> None:
    x = np.full((1000, 2), 0.1, np.float32)
    x[:, 1] = np.arange(1000)
    constants = preprocess(x, None, "auto", None)
    assert constants.std[0] == 1.0
    assert constants.std[1] == pytest.approx(288.675, rel=1e-5)
    assert preprocess(np.zeros((3, 2, 2), np.uint8), None, "auto", None).std == (1.0,)


def test_given_and_no_constants(spec: Spec, refusal: Refusal) -> None:
    x = np.zeros((3, 2, 2, 3), np.uint8)
    none = preprocess(x, None, "none", None)
    assert (none.mean, none.std, none.scale) == ((0.0,), (1.0,), 1 / 255)
    given_three = spec(normalize={"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}).normalize
    assert preprocess(x, None, given_three, None).std == (1, 2, 3)
    given_two = spec(normalize={"mean": [0.1, 0.2], "std": [1, 2]}).normalize
    assert refusal(preprocess, x, None, given_two, None).code == "normalize_shape"


def test_images_stay_integers_and_teachers_come_along(tmp_path: Path, spec: Spec) -> None:
    x = np.arange(40 * 4, dtype=np.uint16).reshape(40, 2, 2) + 300
    teacher = np.eye(4, dtype=np.float32)[np.arange(40) % 4]
    raw = Raw(
        {"train": RawSplit(x, np.arange(40) % 4, teacher)}, 4, None, teacher_outputs="probabilities"
    )
    facts = prepare(raw, spec(), tmp_path / "a")
    assert (facts.feature_dtype, facts.teacher_outputs) == ("uint16", "probabilities")
    with safe_open(tmp_path / "a", framework="pt") as file:
        assert "train.teacher_probabilities" in file.keys()  # noqa: SIM118
    for name in ("train", "validation", "test"):
        split = Prepared.open(tmp_path / "a").split(name)
        assert split.x.dtype == torch.uint16
        assert split.y is not None
        assert split.teacher_logits is not None
        assert torch.isfinite(split.teacher_logits).all()
        softmax = split.teacher_logits.softmax(dim=1)
        torch.testing.assert_close(softmax, torch.eye(4)[split.y], atol=1e-6, rtol=0)


def test_the_writer_writes_what_the_loader_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "WRITE_ROWS_BYTES", 100)
    rng = np.random.default_rng(0)
    x = np.asfortranarray(rng.integers(0, 255, (31, 3, 5), np.uint8))
    y = np.arange(31)
    places = np.array([1, 5, 30])
    tensors = {
        "train.x": prepared.Rows(x),
        "train.y": prepared.Rows(y),
        "test.x": prepared.Rows(x, places),
        "test.y": prepared.Rows(y, places),
    }
    digest, size = prepared.write(tmp_path / "a", tensors)
    assert (tmp_path / "a").stat().st_size == size
    opened = Prepared.open(tmp_path / "a")
    assert opened.names == ("train", "test")
    np.testing.assert_array_equal(opened.split("train").x, x)
    np.testing.assert_array_equal(opened.split("test").x, x[places])
    labels = opened.split("test").y
    assert labels is not None
    assert labels.tolist() == [1, 5, 30]
    assert labels.data_ptr() % 8 == 0
    assert prepared.write(tmp_path / "b", dict(reversed(tensors.items())))[0] == digest
    with pytest.raises(KeyError):
        opened.split("validation")


def test_the_preview_of_2d_rows_is_short(tmp_path: Path, spec: Spec) -> None:
    x = np.random.default_rng(0).normal(size=(50, 100)).astype(np.float32)
    facts = prepare(raw_of(x, np.arange(50) % 2), spec(), tmp_path / "a")
    assert len(facts.preview) == 8
    assert facts.preview[0].values is not None
    assert len(facts.preview[0].values) == 16
    assert facts.preview[0].label in (0, 1)
    assert len(facts.model_dump_json()) < 10_000
