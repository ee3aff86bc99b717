"""The statistics against references, and the sentences they lead to."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from workers.engine import statistics
from workers.engine.repair import apply_bias, best_bias
from workers.engine.report import Answers, Pair, difference, doubt_of_teacher, verdict


def test_wilson_matches_scipy() -> None:
    for hits, n in [(0, 10), (3, 10), (10, 10), (9854, 10000)]:
        reference = stats.binomtest(hits, n).proportion_ci(method="wilson")
        assert statistics.wilson(hits, n) == pytest.approx((reference.low, reference.high))


def test_mcnemar_on_a_table_worked_by_hand() -> None:
    # 8 discordant examples, all for a: p = 2 * (1/2)^8.
    a = np.array([True] * 20)
    b = np.array([True] * 12 + [False] * 8)
    assert statistics.mcnemar_p(a, b) == pytest.approx(2 / 256)
    assert statistics.paired_difference(a, b)[0] == pytest.approx(0.4)
    assert statistics.mcnemar_p(a, a) == 1


def test_mcnemar_matches_scipy() -> None:
    for only_a, only_b in [(5, 5), (0, 1), (30, 12), (200, 260)]:
        a = np.array([True] * only_a + [False] * only_b)
        reference = stats.binomtest(only_a, only_a + only_b, 0.5).pvalue
        assert statistics.mcnemar_p(a, ~a) == pytest.approx(reference)


def test_the_interval_of_a_difference_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth, covered, runs = 0.05, 0, 1500
    for _ in range(runs):
        u = rng.random(400)
        a, b = u < 0.85, (u < 0.70) | (u > 0.90)  # accuracies .85 and .80 on shared examples
        low, high = statistics.paired_difference(a, b)[1]
        covered += low <= truth <= high
    assert 0.93 < covered / runs < 0.975


def test_clopper_pearson_matches_scipy() -> None:
    for hits, n in [(0, 10), (3, 10), (10, 10), (98, 120)]:
        reference = stats.binomtest(hits, n).proportion_ci(method="exact")
        assert statistics.clopper_pearson(hits, n) == pytest.approx((reference.low, reference.high))
    assert statistics.clopper_pearson(0, 0) == (0.0, 1.0)


def test_the_interval_of_a_difference_has_zero_wherever_the_test_tells_none() -> None:
    for only_a in range(40):
        for only_b in range(40):
            a = np.array([True] * (359 - only_b) + [False] * only_b)
            b = np.array([False] * only_a + [True] * (359 - only_a))
            low, high = statistics.paired_difference(a, b)[1]
            assert (low <= 0 <= high) == (statistics.mcnemar_p(a, b) >= 0.05), (only_a, only_b)


def test_a_teacher_that_knows_less_than_its_students_is_doubted() -> None:
    labels = torch.zeros(200, dtype=torch.long)

    def answers(right: int) -> Answers:
        logits = torch.zeros(200, 2)
        logits[:right, 0], logits[right:, 1] = 5.0, 5.0
        return Answers(logits.log_softmax(1), labels)

    said = doubt_of_teacher(answers(140), answers(166))
    assert said is not None
    assert "70.00 %" in said
    assert "83.00 %" in said
    assert "preprocess" in said
    assert doubt_of_teacher(answers(166), answers(140)) is None
    assert doubt_of_teacher(answers(165), answers(166)) is None


def test_t_interval_matches_scipy() -> None:
    values = [0.3, -0.1, 0.4, 0.2]
    mean, interval, p = statistics.mean_interval(values)
    reference = stats.ttest_1samp(values, 0)
    assert p == pytest.approx(reference.pvalue)
    assert interval == pytest.approx(tuple(reference.confidence_interval()))
    assert mean == pytest.approx(0.2)


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    right = np.array([True, False, True, True])
    assert statistics.calibration_error(confidence, right) == pytest.approx(
        0.5 * abs(0.95 - 0.5) + 0.5 * abs(0.55 - 1.0)
    )
    assert statistics.calibration_error(np.ones(3), np.ones(3, bool)) == 0


def answers(right: np.ndarray) -> Answers:
    """Two classes, label 0: right where told."""
    logits = torch.tensor(np.where(right, 2.0, -2.0))
    log_p = torch.log_softmax(torch.stack([logits, torch.zeros_like(logits)], 1), 1)
    return Answers(log_p, torch.zeros(len(right), dtype=torch.long))


def pair(better: int, worse: int, n: int = 1000, seed: int = 0) -> Pair:
    student, baseline = np.ones(n, bool), np.ones(n, bool)
    baseline[:better] = False
    student[better : better + worse] = False
    return Pair(seed, answers(student), answers(baseline))


@pytest.mark.parametrize(
    ("better", "worse", "word"),
    [(60, 20, "helped"), (20, 60, "hurt"), (30, 28, "not distinguishable")],
)
def test_verdict_of_one_pair(better, worse, word) -> None:
    pairs = [pair(better, worse)]
    change = difference(pairs)
    told, sentence = verdict(change, pairs)
    assert told == word
    assert "these two runs only" in sentence
    assert change["accuracy"] == pytest.approx((better - worse) / 1000)


def test_three_seeds_speak_of_the_method() -> None:
    pairs = [pair(60, 20, seed=0), pair(55, 21, seed=1), pair(62, 18, seed=2)]
    change = difference(pairs)
    told, sentence = verdict(change, pairs)
    assert (told, change["over"]) == ("helped", "seeds")
    assert "3 seeds" in sentence
    assert "these two runs" not in sentence
    scattered = [pair(60, 20, seed=0), pair(20, 60, seed=1), pair(45, 40, seed=2)]
    assert verdict(difference(scattered), scattered)[0] == "not distinguishable"


def test_examples_that_both_were_trained_on_prove_nothing() -> None:
    pairs = [pair(60, 20)]
    change = difference(pairs)
    word, sentence = verdict(change, pairs, "train")
    assert word == "not distinguishable"
    assert "On 1,000 training examples" in sentence
    assert "cannot be told" in sentence
    assert "helped" not in sentence
    word, sentence = verdict(change, pairs, "validation")
    assert word == "helped"
    assert "On 1,000 validation examples" in sentence
    assert "no test split: epochs are chosen by these" in sentence
    _, sentence = verdict(change, pairs, "validation", chosen=False)
    assert "no test split" in sentence
    assert "chosen" not in sentence


def test_equal_seeds_do_not_make_two_lucky_examples_a_proof() -> None:
    """Each seed gains the same two of forty examples: seeds say p = 0, examples say why not."""
    pairs = [pair(2, 0, n=40, seed=seed) for seed in range(3)]
    change = difference(pairs)
    assert change["p_seeds"] < 1e-6
    assert change["p"] == change["p_examples"] > 0.05
    assert change["interval"][0] < 0
    assert verdict(change, pairs)[0] == "not distinguishable"


def test_chance_alone_rarely_helps_or_hurts() -> None:
    """Students and baselines of equal skill, with examples that all find hard."""
    draw = np.random.default_rng(0)
    words = []
    for _ in range(200):
        skill = draw.beta(4, 1, 300)
        right = draw.random((6, 300)) < skill
        pairs = [Pair(k, answers(right[k]), answers(right[3 + k])) for k in range(3)]
        words.append(verdict(difference(pairs), pairs)[0])
    assert words.count("not distinguishable") >= 188


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31), st.integers(5, 60), st.integers(3, 6), st.floats(-4, 4), st.booleans()
)
def test_bias_repair_finds_the_best_constant(seed, n, classes, tilt, two) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (n,), generator=generator)
    missing = [0, 1] if two else [0]
    logits[:, missing] -= tilt

    def right(bias: float) -> int:
        moved = logits.clone()
        moved[:, missing] += bias
        return int((moved.argmax(1) == labels).sum())

    found = best_bias(logits, labels, missing)
    assert right(found) >= max(right(b) for b in np.linspace(-12, 12, 49))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(5, 40))
def test_bias_repair_never_loses_to_what_ties_would_have_got(seed, n) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-2, 3, (n, 3), generator=generator).double()
    labels = torch.randint(3, (n,), generator=generator)
    moved = logits.clone()
    moved[:, [0]] += best_bias(logits, labels, [0])
    assert (moved.argmax(1) == labels).sum() >= (logits.argmax(1) == labels).sum()
    best_apart = max(
        (logits + torch.tensor([b, 0, 0])).argmax(1).eq(labels).sum()
        for b in torch.arange(-5.5, 6.0).double()
    )
    assert (moved.argmax(1) == labels).sum() >= best_apart


def test_applying_a_bias_moves_only_those_classes() -> None:
    layer = torch.nn.Linear(4, 3)
    before = layer.bias.detach().clone()
    apply_bias(layer, [1], 3.5)
    assert torch.allclose(layer.bias.detach() - before, torch.tensor([0.0, 3.5, 0.0]))
