"""What a teacher knows beyond its answers, as a worker measures it on a data set."""

from typing import Literal

from pydantic import Field

from app.spec.base import Spec
from app.spec.dataset import SplitName

VERSION = 1
"""Raised when the same teacher and data would be described otherwise, so that none is reused."""

TEMPERATURES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 30.0, 40.0)


class Softness(Spec):
    """The teacher's soft targets at one temperature, averaged over the examples."""

    temperature: float
    entropy: float
    """In nats."""
    entropy_share: float
    """Of the greatest possible, log C."""
    off_target: float
    """The mass on classes other than the target."""


class Confused(Spec):
    """Two classes that the teacher finds alike."""

    classes: tuple[int, int]
    similarity: float
    """Mean of the two entries of the similarity matrix."""


class Similarity(Spec):
    """How the mass off the target spreads over the other classes.

    Row c, column j: of the mass that examples of class c have off c, the share that is on j. Rows
    sum to 1, the diagonal is 0.
    """

    temperature: float
    """The lowest of the table at which a tenth of the mass is off the target, or else the last."""
    chance: float
    """Every entry, were no two classes more alike than others: 1 / (C - 1)."""
    matrix: tuple[tuple[float, ...] | None, ...] | None
    """A row is null where no example has the class. All of it is null for too many classes."""
    confused: tuple[Confused, ...]
    """The most alike first."""


class Bin(Spec):
    """Of a reliability diagram: the examples whose top probability lies in [low, high)."""

    low: float
    high: float
    examples: int
    confidence: float | None
    """Their mean; null where there is none, as accuracy is."""
    accuracy: float | None


class Reliability(Spec):
    """How far the top probability can be trusted."""

    nll: float
    ece: float
    """Expected calibration error over the bins (Guo et al. 2017, equation 3)."""
    bins: tuple[Bin, ...]


class Calibration(Spec):
    """The teacher's confidence on held-out examples, as it is and at the T that calibrates it."""

    split: SplitName
    examples: int
    accuracy: float
    plain: Reliability
    temperature: float | None
    """Whose softmax has the least NLL on `fitted_on` (Guo et al. 2017, section 4.2); null where
    there is none, such as for a teacher that makes no mistake there."""
    fitted_on: SplitName
    calibrated: Reliability | None


class Knowledge(Spec):
    """The dark knowledge of a teacher on a data set."""

    version: int = VERSION
    classes: int
    split: SplitName
    """Whose examples the soft targets are of: those that students learn from."""
    examples: int
    rows: int
    """Of the split: `examples` of them were drawn, spread evenly."""
    target: Literal["label", "answer"]
    """Which class of an example counts as its target: its label, or without labels what the
    teacher answers."""
    softness: tuple[Softness, ...] = Field(min_length=1)
    similarity: Similarity
    calibration: Calibration | None
    """Null without labels on a split that the teacher answers for."""
