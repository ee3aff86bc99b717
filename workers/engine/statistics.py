"""Small-sample statistics behind the verdict. Intervals are 95 % unless a level is given."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

LEVEL = 0.05
Z = 1.959963984540054
BINS = 15

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927): sound for 0 and n successes too."""
    p = successes / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def discordant(right_a: Bools, right_b: Bools) -> tuple[int, int]:
    """Examples that only a, and that only b, got right."""
    return int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())


def paired_difference(right_a: Bools, right_b: Bools) -> tuple[float, tuple[float, float]]:
    """accuracy(a) - accuracy(b) on the same examples, with its interval.

    That of Agresti and Min 2005, widened where need be to what the exact McNemar test does not
    reject: an interval without zero beside a test that tells no difference would say two things.
    """
    value, (low, high), _ = paired_contrast([(1, right_a), (-1, right_b)])
    only_a, only_b = discordant(right_a, right_b)
    share = (only_a + only_b) / len(right_a)
    least, most = clopper_pearson(only_a, only_a + only_b)
    return value, (min(low, (2 * least - 1) * share), max(high, (2 * most - 1) * share))


def clopper_pearson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The proportions that the exact two-sided binomial test does not reject (1934)."""
    failures = n - successes
    low = special.betaincinv(successes, failures + 1, level / 2) if successes else 0.0
    high = special.betaincinv(successes + 1, failures, 1 - level / 2) if failures else 1.0
    return float(low), float(high)


def paired_contrast(
    terms: Sequence[tuple[int, Bools]], level: float = LEVEL
) -> tuple[float, tuple[float, float], float]:
    """sum of w accuracy(side) over (w, side) on the same examples, its interval and p-value.

    As Agresti and Min 2005 have it for a difference: Wald's, after two observations are added that
    are spread evenly over all patterns of right and wrong. (Weights that sum to zero.)
    """
    each = np.sum([weight * right.astype(float) for weight, right in terms], axis=0)
    n, padded = len(each), len(each) + 2
    squares = float((each**2).sum()) + sum(weight**2 for weight, _ in terms) / 2
    centre = float(each.sum()) / padded
    error = math.sqrt(squares / padded - centre**2) / math.sqrt(padded)
    half = float(special.ndtri(1 - level / 2)) * error
    p = 2 * float(special.ndtr(-abs(centre) / error))
    return float(each.sum()) / n, (centre - half, centre + half), p


def mcnemar_p(right_a: Bools, right_b: Bools) -> float:
    """Exact two-sided McNemar test: do a and b err equally often? (McNemar 1947)"""
    only_a, only_b = discordant(right_a, right_b)
    if only_a + only_b == 0:
        return 1.0
    # A binomial with p = 1/2 is symmetric: both tails are as heavy. (scipy.stats would say the
    # same, but takes a second to import.)
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def mean_interval(
    values: Sequence[float] | Floats, level: float = LEVEL
) -> tuple[float, tuple[float, float], float]:
    """Mean, Student's t interval, and the p-value of a zero mean, from two values or more."""
    sample = np.asarray(values, dtype=float)
    mean, error = float(sample.mean()), float(sample.std(ddof=1) / math.sqrt(len(sample)))
    if error == 0:
        return mean, (mean, mean), 0.0 if mean else 1.0
    half = float(special.stdtrit(len(sample) - 1, 1 - level / 2)) * error
    p = 2 * float(special.stdtr(len(sample) - 1, -abs(mean) / error))
    return mean, (mean - half, mean + half), p


@dataclass(frozen=True)
class Bin:
    """The examples whose confidence lies between `low` and `high`; without any there are no
    means."""

    low: float
    high: float
    examples: int
    confidence: float | None
    accuracy: float | None


def reliability(confidence: Floats, right: Bools) -> list[Bin]:
    """The reliability diagram behind `calibration_error`, bin by bin."""
    place = _bins(confidence)
    counts = np.bincount(place, minlength=BINS)
    sums = np.bincount(place, confidence, minlength=BINS)
    hits = np.bincount(place, right, minlength=BINS)
    return [
        Bin(
            low=index / BINS,
            high=(index + 1) / BINS,
            examples=int(count),
            confidence=float(sums[index] / count) if count else None,
            accuracy=float(hits[index] / count) if count else None,
        )
        for index, count in enumerate(counts)
    ]


def _bins(confidence: Floats) -> NDArray[np.int64]:
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def calibration_error(confidence: Floats, right: Bools) -> float:
    """Expected calibration error in 15 equal bins (Guo et al. 2017, equation 3)."""
    bins = _bins(confidence)
    weights = np.bincount(bins, minlength=BINS)
    gaps = np.bincount(bins, confidence - right, minlength=BINS)
    return float(np.abs(gaps[weights > 0]).sum() / len(right))
