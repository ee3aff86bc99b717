"""A teacher's dark knowledge, against sums worked by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from app.spec.dataset import DatasetSpec
from app.spec.jobfile import PreparedFile, ReportFile, TeacherFile
from app.spec.knowledge import TEMPERATURES
from app.spec.problems import Refused
from tests.engine.conftest import TEACHER
from workers.data.inspect import inspect_dataset
from workers.engine.knowledge import (
    MATRIX_CLASSES,
    MOST_CELLS,
    MOST_EXAMPLES,
    PAIRED_CLASSES,
    calibrating,
    calibration,
    describe,
    drawn,
    knowledge,
    most_confused,
    reliability,
    similarity,
    similarity_matrix,
    softness,
)
from workers.networks import build
from workers.networks.store import save_network


def logits_of(*rows: list[float]) -> torch.Tensor:
    """Whose softmax at 1 is these probabilities."""
    return torch.tensor(rows).log()


def test_entropy_and_mass_of_known_targets() -> None:
    """p = (0.8, 0.2) at T = 1; at T = 2 its square roots, (2/3, 1/3)."""
    z = logits_of([0.8, 0.2], [0.2, 0.8])
    one, two = softness(z, torch.tensor([0, 0]), (1.0, 2.0))
    at_one = -0.8 * math.log(0.8) - 0.2 * math.log(0.2)
    assert one.entropy == pytest.approx(at_one)
    assert one.entropy_share == pytest.approx(at_one / math.log(2))
    assert one.off_target == pytest.approx((0.2 + 0.8) / 2)
    assert two.entropy == pytest.approx(math.log(3) - 2 / 3 * math.log(2))
    assert two.off_target == pytest.approx((1 / 3 + 2 / 3) / 2)


def test_entropy_at_the_design_s_own_golden_numbers() -> None:
    z = torch.tensor([[2.0, 7.0, 10.0]])
    golden = {
        1.0: [3.19450938e-04, 4.74107229e-02, 9.52269826e-01],
        4.0: [0.08417934, 0.29381477, 0.62200588],
    }
    for one in softness(z, torch.tensor([2]), tuple(golden)):
        p = np.array(golden[one.temperature])
        assert one.entropy == pytest.approx(float(-(p * np.log(p)).sum()), abs=1e-6)
        assert one.off_target == pytest.approx(p[0] + p[1], abs=1e-6)


def test_softness_rises_with_t_and_ends_uniform() -> None:
    z = torch.randn(300, 7, generator=torch.Generator().manual_seed(0)) * 4
    told = softness(z, z.argmax(1), (*TEMPERATURES, 1e6))
    entropies = [one.entropy for one in told]
    assert entropies == sorted(entropies)
    assert told[-1].entropy_share == pytest.approx(1)
    assert told[-1].off_target == pytest.approx(6 / 7, abs=1e-4)


def test_the_similarity_matrix_by_hand() -> None:
    z = logits_of([0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.25, 0.5, 0.25])
    found = similarity_matrix(z, torch.tensor([0, 0, 1]), 1.0)
    # Class 0: 0.2 + 0.4 on 1 and 0.1 + 0.1 on 2, of 0.8 in all; class 1: half and half.
    expected = [[0, 0.75, 0.25], [0.5, 0, 0.5]]
    torch.testing.assert_close(found[:2], torch.tensor(expected, dtype=torch.float64))
    assert found[2].isnan().all()
    pairs = list(most_confused(found))
    assert [pair.classes for pair in pairs] == [(0, 1), (1, 2), (0, 2)]
    # Of class 2 there is no example, so that the other's entry stands alone.
    assert [pair.similarity for pair in pairs] == pytest.approx([(0.75 + 0.5) / 2, 0.5, 0.25])
    told = similarity(z, torch.tensor([0, 0, 1]), 1.0)
    assert told.chance == 0.5
    assert told.matrix == ((0, 0.75, 0.25), (0.5, 0, 0.5), None)


def test_at_another_t_the_matrix_is_of_other_powers() -> None:
    found = similarity_matrix(logits_of([0.5, 0.4, 0.1]), torch.tensor([0]), 2.0)
    share = math.sqrt(0.4) / (math.sqrt(0.4) + math.sqrt(0.1))
    assert found[0].tolist() == pytest.approx([0, share, 1 - share])


def test_a_teacher_that_is_sure_has_no_similarities_at_t_1() -> None:
    z = torch.tensor([[1000.0, 0.0, 0.0], [0.0, 1000.0, 0.0]])
    told = similarity(z, torch.tensor([0, 1]), 1.0)
    assert told.matrix == (None, None, None)
    assert told.confused == ()


def test_many_classes_are_told_of_in_pairs_alone_and_more_not_at_all() -> None:
    for classes, pairs in ((MATRIX_CLASSES + 1, 10), (PAIRED_CLASSES + 1, 0)):
        z = torch.randn(12, classes, generator=torch.Generator().manual_seed(0))
        told = similarity(z, z.argmax(1), 4.0)
        assert told.matrix is None
        assert len(told.confused) == pairs


def test_calibration_error_and_bins_by_hand() -> None:
    """Four answers of 0.9, three of them right; one of 0.55, wrong."""
    z = logits_of(*[[0.9, 0.1]] * 4, [0.45, 0.55])
    told = reliability(z, torch.tensor([0, 0, 0, 1, 0]), 1.0)
    assert told.ece == pytest.approx(0.8 * abs(0.9 - 0.75) + 0.2 * abs(0.55 - 0))
    nll = -(3 * math.log(0.9) + math.log(0.1) + math.log(0.45)) / 5
    assert told.nll == pytest.approx(nll, rel=1e-6)
    filled = [one for one in told.bins if one.examples]
    assert [(one.examples, one.accuracy) for one in filled] == [(1, 0), (4, 0.75)]
    assert [one.confidence for one in filled] == pytest.approx([0.55, 0.9])
    for one in filled:
        assert one.low <= one.confidence < one.high
    assert len(told.bins) == 15
    assert (told.bins[0].low, told.bins[-1].high) == (0, 1)


def test_the_calibrating_temperature_in_closed_form() -> None:
    """Two classes with logit gap g, right in a share r: sigmoid(g / T) = r, T = g / logit(r)."""
    z = torch.tensor([[3.0, 0.0]]).repeat(100, 1)
    labels = (torch.arange(100) >= 80).long()
    assert calibrating(z, labels) == pytest.approx(3 / math.log(0.8 / 0.2), rel=1e-5)
    # Underconfident: below 1.
    assert calibrating(z / 6, labels) == pytest.approx(0.5 / math.log(4), rel=1e-5)


def test_it_has_the_least_nll_of_all() -> None:
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(500, 5, generator=generator) * 4
    labels = torch.multinomial((z / 2.5).softmax(1), 1, generator=generator).squeeze(1)
    best = calibrating(z, labels)
    assert best == pytest.approx(2.5, rel=0.15)
    least = reliability(z, labels, best).nll
    for t in np.geomspace(0.2, 20, 60):
        assert reliability(z, labels, float(t)).nll >= least - 1e-9


def test_some_teachers_no_temperature_calibrates() -> None:
    z = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    assert calibrating(z, z.argmax(1)) is None, "without a mistake, the colder the better"
    assert calibrating(z, z.argmin(1)) is None, "wrong always, the hotter the better"


def test_t_is_fitted_on_validation_and_measured_on_test() -> None:
    z = torch.tensor([[3.0, 0.0]]).repeat(100, 1)
    wrong = {"train": 0, "validation": 20, "test": 30}
    found = {name: (z, (torch.arange(100) < n).long(), 100) for name, n in wrong.items()}
    told = calibration(found)
    assert (told.split, told.fitted_on, told.accuracy) == ("test", "validation", 0.7)
    assert told.temperature == pytest.approx(3 / math.log(4), rel=1e-5)
    assert told.calibrated.nll < told.plain.nll
    assert told.calibrated.ece == pytest.approx(0.1, abs=1e-6)
    del found["validation"]
    assert calibration(found).fitted_on == "test"
    assert calibration({"train": (z, None, 100)}) is None


def test_without_labels_the_answer_is_the_target() -> None:
    z = logits_of([0.7, 0.2, 0.1], [0.1, 0.3, 0.6])
    told = knowledge({"train": (z, None, 2)})
    assert (told.target, told.calibration) == ("answer", None)
    assert told.softness[0].off_target == pytest.approx((0.3 + 0.4) / 2)
    labelled = knowledge({"train": (z, torch.tensor([1, 1]), 2)})
    assert labelled.target == "label"
    assert labelled.softness[0].off_target == pytest.approx((0.8 + 0.7) / 2)


def test_similarities_are_told_at_the_first_t_that_shows_some() -> None:
    sure = torch.tensor([[9.0, 1.0, 0.0], [1.0, 9.0, 0.0], [0.0, 1.0, 9.0]])
    told = knowledge({"train": (sure, torch.arange(3), 3)})
    off = {one.temperature: one.off_target for one in told.softness}
    at = told.similarity.temperature
    assert off[at] >= 0.1 > off[TEMPERATURES[TEMPERATURES.index(at) - 1]]
    unsure = logits_of([0.5, 0.3, 0.2])
    assert knowledge({"train": (unsure, torch.tensor([0]), 1)}).similarity.temperature == 1


def test_examples_are_drawn_evenly() -> None:
    assert drawn(10, 10).tolist() == list(range(10))
    many = drawn(10 * MOST_EXAMPLES, 10)
    assert len(many) == len(many.unique()) == MOST_EXAMPLES
    assert (int(many[0]), int(many[-1])) == (0, 10 * MOST_EXAMPLES - 1)
    assert int(many.diff().max()) <= 11
    assert len(drawn(10**6, 100_000)) == MOST_CELLS // 100_000


def test_a_real_teacher_is_described(digits: PreparedFile, teacher_file: Path) -> None:
    teacher = TeacherFile.model_validate({"network": TEACHER, "file": str(teacher_file)})
    told = describe(ReportFile(dataset=digits, teacher=teacher, device="cpu", threads=1))
    assert (told.split, told.examples, told.rows, told.target) == ("train", 1294, 1294, "label")
    assert told.calibration.accuracy > 0.9
    assert told.calibration.examples == 359
    assert told.softness[0].off_target < 0.2 < told.softness[-1].off_target
    for row in told.similarity.matrix:
        assert sum(row) == pytest.approx(1, abs=1e-4)
    assert told == describe(ReportFile(dataset=digits, teacher=teacher, threads=1))


def recorded(tmp_path: Path, **arrays: np.ndarray) -> PreparedFile:
    np.savez(tmp_path / "a.npz", **arrays)
    source = {"kind": "file", "file": "file_a"}
    label = "label" if "y_train" in arrays else None
    spec = DatasetSpec.model_validate({"name": "a", "source": source, "label": label})
    facts = inspect_dataset(tmp_path / "a.npz", spec, tmp_path / "a.safetensors")
    return PreparedFile(file=tmp_path / "a.safetensors", facts=facts)


def test_recorded_outputs_are_described_alike(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    p = np.tile(np.array([[0.8, 0.15, 0.05]], np.float32), (60, 1))
    y = np.zeros(60, np.int64)
    y[:3] = [1, 2, 1]
    data = recorded(
        tmp_path, x_train=x, y_train=y, x_test=x, y_test=y, teacher_probabilities_train=p
    )
    told = describe(ReportFile(dataset=data))
    assert told.softness[0].entropy == pytest.approx(-float((p[0] * np.log(p[0])).sum()), rel=1e-5)
    assert told.split == "train"
    # Cut from train, which has outputs; test has none.
    assert told.calibration.split == told.calibration.fitted_on == "validation"
    none = data.model_copy(update={"file": digits_like(tmp_path)})
    with pytest.raises(Refused, match="no_teacher_outputs"):
        describe(ReportFile(dataset=none))


def digits_like(tmp_path: Path) -> Path:
    spec = DatasetSpec.model_validate(
        {"name": "d", "source": {"kind": "builtin", "name": "digits"}}
    )
    inspect_dataset(None, spec, tmp_path / "d.safetensors")
    return tmp_path / "d.safetensors"


def test_answers_that_are_no_numbers_are_refused(digits: PreparedFile, tmp_path: Path) -> None:
    from pydantic import TypeAdapter

    from app.spec.networks import NetworkSpec

    network = build(TypeAdapter(NetworkSpec).validate_python(TEACHER), seed=0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(3e38)
    save_network(network, tmp_path / "wild.safetensors")
    teacher = TeacherFile.model_validate(
        {"network": TEACHER, "file": str(tmp_path / "wild.safetensors")}
    )
    with pytest.raises(Refused, match="non_finite_outputs"):
        describe(ReportFile(dataset=digits, teacher=teacher))
