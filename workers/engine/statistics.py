"""Small-sample statistics behind the verdict. Intervals are 95 %."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

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
    """accuracy(a) - accuracy(b) on the same examples, with the interval of Agresti and Min 2005
    (Wald, half an observation added to each of the four cells)."""
    n = len(right_a)
    only_a, only_b = discordant(right_a, right_b)
    padded, b, c = n + 2, only_a + 0.5, only_b + 0.5
    centre = (b - c) / padded
    half = Z * math.sqrt((b + c) - (b - c) ** 2 / padded) / padded
    return (only_a - only_b) / n, (centre - half, centre + half)


def mcnemar_p(right_a: Bools, right_b: Bools) -> float:
    """Exact two-sided McNemar test: do a and b err equally often? (McNemar 1947)"""
    only_a, only_b = discordant(right_a, right_b)
    if only_a + only_b == 0:
        return 1.0
    # A binomial with p = 1/2 is symmetric: both tails are as heavy. (scipy.stats would say the
    # same, but takes a second to import.)
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def mean_interval(values: Sequence[float] | Floats) -> tuple[float, tuple[float, float], float]:
    """Mean, Student's t interval, and the p-value of a zero mean, from two values or more."""
    sample = np.asarray(values, dtype=float)
    mean, error = float(sample.mean()), float(sample.std(ddof=1) / math.sqrt(len(sample)))
    if error == 0:
        return mean, (mean, mean), 0.0 if mean else 1.0
    half = float(special.stdtrit(len(sample) - 1, 0.975)) * error
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
