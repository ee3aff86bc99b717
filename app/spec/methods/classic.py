"""Learning from labels and from a teacher's logits, as first published."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.spec.methods.base import Method
from app.spec.schedules import Fraction, Temperature


class Supervised(Method):
    """Training on the labels alone: makes teachers and baselines.

    loss = cross_entropy(z_s, y), where y may be smoothed: (1 - e) y + e / C.
    """

    title: ClassVar[str] = "Supervised training"
    paper: ClassVar[str | None] = None
    teachers: ClassVar[tuple[int, int | None]] = (0, 0)
    compared: ClassVar[bool] = False

    name: Literal["supervised"] = "supervised"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """e above. Teachers trained with smoothing distil worse (Mueller et al. 2019)."""


class KD(Method):
    """Tempered knowledge distillation (Hinton, Vinyals and Dean 2015, arXiv 1503.02531).

    loss = w_s T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + w_h cross_entropy(z_s, y).
    With several teachers the target is the mean of their softmax at T (section 4).
    """

    title: ClassVar[str] = "Knowledge distillation"
    paper: ClassVar[str | None] = "arXiv:1503.02531"
    teachers: ClassVar[tuple[int, int | None]] = (1, None)
    logits_alone: ClassVar[bool] = True

    name: Literal["kd"] = "kd"
    temperature: Temperature = 4.0
    """T: above 1 softens both distributions. A number or a ramp."""
    alpha: Fraction = 0.9
    """Weight of the SOFT term (some libraries mean the hard one): w_s = alpha, w_h = 1 - alpha.
    With 1 no labels are needed. A number or a ramp."""
    standardise: bool = False
    """Logits become (z - mean) / std of each example, teachers' and student's, before T (Sun et al.
    2024, arXiv 2403.01427): the student need not reach its teacher's confidence. The paper's
    settings: T 2 (3 for vgg), soft_weight 9, hard_weight 0.1."""
    soft_weight: float | None = Field(default=None, ge=0, le=1000)
    """w_s when it should not come from alpha; given together with hard_weight."""
    hard_weight: float | None = Field(default=None, ge=0, le=1000)
    """w_h when it should not come from alpha; given together with soft_weight."""

    @model_validator(mode="after")
    def _both_weights(self) -> Self:
        if (self.soft_weight is None) != (self.hard_weight is None):
            raise ValueError("give soft_weight and hard_weight together, or alpha alone")
        if self.soft_weight == 0 == self.hard_weight:
            raise ValueError("soft_weight and hard_weight cannot both be 0")
        return self

    @property
    def needs_labels(self) -> bool:
        if self.hard_weight is not None:
            return self.hard_weight > 0
        return self.alpha != 1.0

    @property
    def silent_with_two_classes(self) -> str | None:
        if not self.standardise:
            return None
        return (
            "Standardised logits of two classes are +0.71 and -0.71 whatever they were: the soft "
            "term has no gradient. Leave standardise out."
        )


class Logits(Method):
    """Logit matching (Ba and Caruana 2014, arXiv 1312.6184).

    loss = alpha (1/2) sum over classes of (z_s - z_t)^2 + (1 - alpha) cross_entropy(z_s, y), both
    logits zero-meaned per example. T^2 KL tends to 1/C of the first term as T grows (Hinton,
    Vinyals and Dean 2015, section 2.1). Several teachers: the mean of their logits.
    """

    title: ClassVar[str] = "Logit matching"
    paper: ClassVar[str | None] = "arXiv:1312.6184"
    teachers: ClassVar[tuple[int, int | None]] = (1, None)
    logits_alone: ClassVar[bool] = True

    name: Literal["logits"] = "logits"
    alpha: Fraction = 1.0
    """Weight of the matching term; 1 needs no labels. A number or a ramp."""

    @property
    def needs_labels(self) -> bool:
        return self.alpha != 1.0
