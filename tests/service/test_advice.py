"""Advice on T: the published findings come out where they were found, and in between what lies
between."""

import pytest

from app.knowledge.advice import LARGE, SMALL, advise, levels, temperature_of
from app.spec.knowledge import Calibration, Reliability, Softness

# Of a 2 x 1200 teacher on MNIST's train split (dropout, jitter, 12 epochs): entropy over log C,
# mass off the label.
MNIST = {
    1: (0.0385, 0.0316),
    1.5: (0.0920, 0.0604),
    2: (0.1696, 0.1041),
    2.5: (0.2612, 0.1591),
    3: (0.3561, 0.2201),
    4: (0.5269, 0.3416),
    5: (0.6559, 0.4459),
    6: (0.7465, 0.5280),
    8: (0.8529, 0.6386),
    10: (0.9066, 0.7044),
    12: (0.9362, 0.7460),
    16: (0.9653, 0.7939),
    20: (0.9784, 0.8198),
    30: (0.9908, 0.8508),
    40: (0.9949, 0.8646),
}
CURVE = [
    Softness(temperature=t, entropy=share * 2.302585, entropy_share=share, off_target=off)
    for t, (share, off) in MNIST.items()
]
TEACHER = 2_395_210


def advised(parameters: int | None, teacher: int | None = TEACHER):
    return advise(CURVE, None, parameters=parameters, teacher_parameters=teacher)


def test_the_papers_own_students_get_the_papers_own_temperatures() -> None:
    small = advised(24_790)
    assert (small.lowest, small.highest) == pytest.approx((2.5, 4.0), abs=0.1)
    large = advised(328_810)
    assert (large.lowest, large.highest) == pytest.approx((8.0, 21.0), abs=1)
    assert not small.assumed
    assert small.share == pytest.approx(0.01035, abs=1e-4)


def test_between_them_it_rises_and_outside_it_stays() -> None:
    lows = [advised(n).lowest for n in (5_000, 24_790, 60_000, 150_000, 328_810, 2_000_000)]
    highs = [advised(n).highest for n in (5_000, 24_790, 60_000, 150_000, 328_810, 2_000_000)]
    for ends in (lows, highs):
        assert ends == sorted(ends)
        assert ends[0] == ends[1] < ends[2] < ends[3] < ends[4] == ends[5]
    assert levels(SMALL.share) == pytest.approx((SMALL.lowest, SMALL.highest))
    assert levels(LARGE.share) == pytest.approx((LARGE.lowest, LARGE.highest))


def test_logits_twice_as_large_need_twice_the_temperature() -> None:
    doubled = [one.model_copy(update={"temperature": 2 * one.temperature}) for one in CURVE]
    for share in (0.3, 0.5, 0.9):
        once, twice = temperature_of(CURVE, share), temperature_of(doubled, share)
        assert twice == pytest.approx(2 * once)


def test_outside_of_the_curve_it_ends_with_it() -> None:
    assert temperature_of(CURVE, 0.001) == 1
    assert temperature_of(CURVE, 0.9999) == 40
    assert temperature_of(CURVE, 0.5269) == pytest.approx(4)


def test_without_a_size_a_tenth_is_assumed_and_said() -> None:
    told = advised(None)
    assert told.assumed
    assert told.share == 0.1
    assert "10 % of its teacher's parameters is assumed" in " ".join(told.reasons)
    unknown = advised(24_790, teacher=None)
    assert unknown.assumed
    assert unknown.share is None
    assert (unknown.lowest, unknown.highest) == (
        advised(1_000).lowest,
        advised(10**7).highest,
    )


def test_the_reasons_name_what_they_rest_on() -> None:
    reliability = Reliability(nll=0.1, ece=0.04, bins=())
    calibration = Calibration(
        split="test",
        examples=100,
        accuracy=0.9,
        plain=reliability,
        temperature=1.7,
        fitted_on="validation",
        calibrated=reliability,
    )
    told = advise(CURVE, calibration, parameters=24_790, teacher_parameters=TEACHER)
    text = " ".join(told.reasons)
    for part in ("24,790", "1 %", "Hinton", "T 2.5 to 4", "overconfident", "T 1.70", "0.040"):
        assert part in text, part
    assert "advice, not a finding" in told.caveat
    sharper = calibration.model_copy(update={"temperature": 0.8})
    text = " ".join(advise(CURVE, sharper, parameters=1, teacher_parameters=10).reasons)
    assert "underconfident" in text
