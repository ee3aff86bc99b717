"""Advice on the temperature: what is published, looked up on this teacher's own soft targets.

Hinton, Vinyals and Dean 2015 (section 3, MNIST, teacher 2 x 1200): with 300 or more units a layer
all T above 8 do alike, with 30 units T of 2.5 to 4 is best. A temperature means little by itself:
twice the logits need twice the T. So both findings are carried over by what those T made of the
targets: the share of the greatest possible entropy, measured on a repetition of that teacher
(dropout, jitter of 2 pixels, 12 epochs, 152 errors).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.spec.knowledge import Calibration, Softness


@dataclass(frozen=True)
class Finding:
    """What the paper found best for a student of some size."""

    share: float
    """The student's parameters over its teacher's: 24,790 and 328,810 of 2,395,210."""
    lowest: float
    """Entropy share of the soft targets at the lowest T that it names."""
    highest: float


SMALL = Finding(24_790 / 2_395_210, 0.26, 0.53)
"""30 units: T 2.5 and 4."""
LARGE = Finding(328_810 / 2_395_210, 0.85, 0.98)
"""300 units: T 8, and 20, which the paper used with 800 units."""
ASSUMED_SHARE = 0.1

CAVEAT = (
    "This is advice, not a finding: one published experiment on MNIST, carried over by the entropy"
    " of the targets. Nothing was trained for it. Try the ends of the range and what lies between,"
    " and let validation choose."
)


@dataclass(frozen=True)
class Advice:
    """A range of T, one to begin with, and why."""

    lowest: float
    highest: float
    first: float
    parameters: int | None
    share: float | None
    assumed: bool
    reasons: tuple[str, ...]
    caveat: str = CAVEAT


def advise(
    softness: Sequence[Softness],
    calibration: Calibration | None,
    *,
    parameters: int | None,
    teacher_parameters: int | None,
) -> Advice:
    """For a student of so many parameters, or one of a tenth of its teacher's where none are given.

    Without the teacher's size the range is for students of all sizes.
    """
    assumed = parameters is None or teacher_parameters is None
    share = ASSUMED_SHARE
    if parameters is not None and teacher_parameters is not None:
        share = parameters / teacher_parameters
    low, high = levels(share)
    if teacher_parameters is None:
        low, high = SMALL.lowest, LARGE.highest
    lowest, highest = (_rounded(temperature_of(softness, level)) for level in (low, high))
    first = _rounded(math.sqrt(lowest * highest))
    reasons = (
        _of_hard_labels(softness[0]),
        _of_size(parameters, teacher_parameters, share, (low, high), (lowest, highest)),
        _of_heat(softness),
        *_of_calibration(calibration),
    )
    told = None if teacher_parameters is None else share
    return Advice(lowest, highest, first, parameters, told, assumed, reasons)


def levels(share: float) -> tuple[float, float]:
    """The entropy shares between which a student of this relative size should be taught: those of
    the findings, and between their sizes a straight line over the logarithm of the size."""
    span = math.log(LARGE.share) - math.log(SMALL.share)
    place = min(max((math.log(share) - math.log(SMALL.share)) / span, 0.0), 1.0)
    return (
        SMALL.lowest + place * (LARGE.lowest - SMALL.lowest),
        SMALL.highest + place * (LARGE.highest - SMALL.highest),
    )


def temperature_of(softness: Sequence[Softness], entropy_share: float) -> float:
    """The T at which the soft targets have this entropy, straight over log T between the measured
    ones; the first or the last one where it lies outside."""
    for before, after in pairwise(softness):
        if entropy_share <= after.entropy_share:
            rise = after.entropy_share - before.entropy_share
            place = max((entropy_share - before.entropy_share) / rise, 0.0) if rise > 0 else 0.0
            step = math.log(after.temperature / before.temperature)
            return before.temperature * math.exp(place * step)
    return softness[-1].temperature


def _of_hard_labels(plain: Softness) -> str:
    return (
        f"At T {plain.temperature:g} the soft targets put {_percent(plain.off_target)} of their"
        f" mass off the target, and have {_percent(plain.entropy_share)} of the greatest possible"
        " entropy:"
        + (" little that the labels do not say." if plain.off_target < 0.1 else " much already.")
    )


def _of_size(
    parameters: int | None,
    teacher_parameters: int | None,
    share: float,
    entropies: tuple[float, float],
    temperatures: tuple[float, float],
) -> str:
    if teacher_parameters is None:
        size = (
            "How large the teacher is that gave these outputs is not known, so the range is for"
            " students of all sizes: the lower end for small ones, the upper for large ones."
        )
    elif parameters is None:
        size = (
            f"No size is given (`parameters`), so a student of {_percent(share)} of its teacher's"
        )
        size += " parameters is assumed."
    else:
        size = f"A student of {parameters:,} parameters has {_percent(share)} of its teacher's."
    return (
        f"{size} A small student cannot follow the very negative logits, which a high T brings out:"
        " in Hinton et al. 2015 T of 2.5 to 4 was best for one of 1 % of its teacher's parameters,"
        " and all T above 8 alike for one of 14 %. There the targets had 26 to 53 % and 85 to 98 %"
        f" of the greatest entropy; for this size that makes {100 * entropies[0]:.0f} to"
        f" {100 * entropies[1]:.0f} %, which this teacher's have at T {temperatures[0]:g} to"
        f" {temperatures[1]:g}."
    )


def _of_heat(softness: Sequence[Softness]) -> str:
    hot = _rounded(temperature_of(softness, LARGE.highest))
    return (
        f"From T {hot:g} on the targets are nearly uniform, and little changes any more: T^2 KL"
        " tends to the squared distance of the logits over 2 C (Hinton et al. 2015, section 2.1),"
        " which the method `logits` takes at once."
    )


def _of_calibration(calibration: Calibration | None) -> Iterator[str]:
    if calibration is None or calibration.temperature is None:
        return
    temperature = calibration.temperature
    kind = "over" if temperature > 1 else "under"
    yield (
        f"On {calibration.fitted_on} the teacher is {kind}confident: T {temperature:.2f}"
        f" would calibrate it. Its calibration error on {calibration.split} is"
        f" {calibration.plain.ece:.3f}. A T for distilling is not there to calibrate, and usually"
        " lies higher."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _rounded(temperature: float) -> float:
    """To two significant digits."""
    return float(f"{temperature:.2g}")
