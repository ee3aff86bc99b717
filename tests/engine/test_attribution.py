"""What a gain is made of: the contrasts against hand and scipy, and the sentences they lead to."""

import numpy as np
import pytest
from scipy import stats

from workers.engine import statistics
from workers.engine.attribution import attribution, contrast


def side(n: int, *wrong: range, seeds: int = 1) -> list[np.ndarray]:
    """As many runs, all wrong on the same examples."""
    right = np.ones(n, bool)
    for examples in wrong:
        right[list(examples)] = False
    return [right.copy() for _ in range(seeds)]


def test_a_contrast_of_two_is_the_paired_difference_of_agresti_and_min() -> None:
    # 30 examples that only a, 12 that only b got right, of 200: by the paper's formula.
    a, b = side(200, range(12))[0], side(200, range(12, 42))[0]
    value, (low, high), p = statistics.paired_contrast([(1, a), (-1, b)])
    n, only_a, only_b = 202, 30.5, 12.5
    centre = (only_a - only_b) / n
    half = 1.959964 * np.sqrt(only_a + only_b - (only_a - only_b) ** 2 / n) / n
    assert value == pytest.approx(18 / 200)
    assert (low, high) == pytest.approx((centre - half, centre + half))
    assert p == pytest.approx(2 * stats.norm.sf(centre / (half / 1.959964)))
    told, (least, most) = statistics.paired_difference(a, b)
    assert told == value
    assert least <= low
    assert most >= high


def test_a_contrast_of_four_by_hand() -> None:
    s, m, c, b = (side(100, range(k))[0] for k in (5, 10, 12, 20))
    value, interval, _ = statistics.paired_contrast([(1, s), (-1, m), (-1, c), (1, b)])
    assert value == pytest.approx(0.95 - 0.90 - 0.88 + 0.80)
    # 0-4: none right; 5-9: s; 10-11: s - m; 12-19: s - m - c; then all: 1 - 1 - 1 + 1.
    each = np.array([0] * 5 + [1] * 5 + [0] * 2 + [-1] * 8 + [0] * 80, float)
    assert value == pytest.approx(each.mean())
    # Two more observations, of squared size 1 each on average: four weights of 1, over 4.
    variance = ((each**2).sum() + 2) / 102 - (each.sum() / 102) ** 2
    half = 1.959964 * np.sqrt(variance / 102)
    assert interval == pytest.approx((each.sum() / 102 - half, each.sum() / 102 + half))


def test_no_difference_at_all_is_not_certain() -> None:
    same = side(50, range(5))[0]
    value, (low, high), p = statistics.paired_contrast([(1, same), (-1, same)])
    assert (value, p) == (0, pytest.approx(1))
    assert low < 0 < high


def test_intervals_cover_the_contrast_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    n, covered, runs = 400, 0, 1500
    for _ in range(runs):
        skill = rng.random(n)
        s, m, c, b = (rng.random(n) < np.clip(skill + up, 0, 1) for up in (0.3, 0.2, 0.1, 0.0))
        _, (low, high), _ = statistics.paired_contrast([(1, s), (-1, m), (-1, c), (1, b)])
        # The mean of clip(skill + up, 0, 1) is 1/2 + up - up^2 / 2.
        truth = (0.3 - 0.045) - (0.2 - 0.02) - (0.1 - 0.005)
        covered += low <= truth <= high
    assert 0.93 < covered / runs < 0.975


def test_over_seeds_the_less_certain_test_counts() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((4, 300)) < 0.9, rng.random((4, 300)) < 0.8
    told = contrast([(1, list(a)), (-1, list(b))], level=0.02)
    by_seed = stats.ttest_1samp(a.mean(1) - b.mean(1), 0)
    by_example = stats.ttest_1samp((a.astype(float) - b).mean(0), 0)
    worse = max(by_seed, by_example, key=lambda test: test.pvalue)
    assert told["p"] == pytest.approx(worse.pvalue)
    assert told["interval"] == pytest.approx(tuple(worse.confidence_interval(0.98)))
    assert told["over"] == "seeds"


def test_the_parts_of_a_gain_add_up() -> None:
    """Baseline 60 wrong, smoothing 50, permuted 30, student 10: of 1,000."""
    student, permuted, smoothed, base = (side(1000, range(k)) for k in (10, 30, 50, 60))
    told = attribution(student, base, {"label_smoothing": smoothed, "permuted": permuted})
    parts = {part["of"]: part["accuracy"] for part in told["parts"]}
    assert parts["label_smoothing - baseline"] == pytest.approx(0.01)
    assert parts["permuted - baseline"] + parts["student - permuted"] == pytest.approx(0.05)
    assert told["gain"]["accuracy"] == pytest.approx(0.05)
    assert told["dark_knowledge"] == "helped"
    sentence = told["sentence"]
    assert "+5.00 points" in sentence
    assert "label smoothing alone, which only regularises, reaches +1.00 (" in sentence
    assert "the class similarities, the dark knowledge, are the rest: +2.00 (" in sentence
    assert "Dark knowledge helped." in sentence
    assert "these runs only" in sentence


def test_by_subtraction_where_nothing_is_permuted() -> None:
    student, smoothed, weighted, base = (side(1000, range(k)) for k in (10, 50, 40, 60))
    told = attribution(student, base, {"label_smoothing": smoothed, "cwtm": weighted})
    rest = told["parts"][-1]
    assert rest["of"] == "student - label_smoothing - cwtm + baseline"
    assert rest["accuracy"] == pytest.approx(0.05 - 0.01 - 0.02)
    assert (rest["part"], told["dark_knowledge"]) == ("class_similarities", "helped")
    assert "should these parts add up" in told["sentence"]


@pytest.mark.parametrize(
    ("controls", "of"),
    [
        ({"label_smoothing"}, "student - label_smoothing"),
        ({"random_teacher"}, "student - random_teacher"),
        ({"cwtm"}, "student - cwtm"),
        ({"label_smoothing", "random_teacher"}, "student - label_smoothing"),
    ],
)
def test_what_does_not_isolate_the_similarities_says_so(controls, of) -> None:
    student, other, base = (side(1000, range(k)) for k in (10, 30, 60))
    told = attribution(student, base, dict.fromkeys(sorted(controls), other))
    assert told["parts"][-1]["of"] == of
    assert told["parts"][-1]["accuracy"] == pytest.approx(0.02)
    assert told["dark_knowledge"] == "not isolated"
    assert "do not isolate" in told["sentence"]


def test_what_overlaps_cannot_be_told() -> None:
    student, permuted = side(1000, range(20)), side(1000, range(2, 24))
    told = attribution(student, side(1000, range(60)), {"permuted": permuted})
    reached, rest = told["parts"]
    assert reached["told"]
    assert not rest["told"]
    assert rest["interval"][0] < 0 < rest["interval"][1]
    assert told["dark_knowledge"] == "not distinguishable"
    assert "which cannot be told from nothing" in told["sentence"]
    assert "Whether the class similarities helped cannot be told." in told["sentence"]


def test_similarities_may_hurt() -> None:
    told = attribution(
        side(1000, range(80)), side(1000, range(60)), {"permuted": side(1000, range(20))}
    )
    assert told["dark_knowledge"] == "hurt"


def test_parts_that_are_nothing_are_seldom_told() -> None:
    """Four controls of equal skill: all five parts together are told of in one case of twenty."""
    draw = np.random.default_rng(2)
    told = 0
    for _ in range(300):
        skill = draw.beta(4, 1, 400)
        runs = [[draw.random(400) < skill] for _ in range(6)]
        names = ("label_smoothing", "cwtm", "random_teacher", "permuted")
        parts = attribution(runs[0], runs[1], dict(zip(names, runs[2:], strict=True)))["parts"]
        assert len(parts) == 5
        told += any(part["told"] for part in parts)
    assert told <= 24


def test_a_part_is_told_just_when_its_interval_leaves_zero_out() -> None:
    for seeds in (1, 3):
        for worse in range(0, 40, 3):
            student = side(500, range(20), seeds=seeds)
            permuted = side(500, range(worse), seeds=seeds)
            told = attribution(student, side(500, seeds=seeds), {"permuted": permuted})
            for part in told["parts"]:
                low, high = part["interval"]
                assert part["told"] == (low > 0 or high < 0)
