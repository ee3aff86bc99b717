"""Distillation of a teacher's logits, beyond the classics."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.spec.methods.base import Method
from app.spec.schedules import Temperature


def _one_other(weight: str) -> str:
    return (
        "Beside the right class there is one other, whose renormalised probability is 1: the term "
        f"of weight {weight} is 0."
    )


class DKD(Method):
    """Decoupled knowledge distillation (Zhao et al. 2022, arXiv 2203.08679).

    loss = cross_entropy(z_s, y) + w(t) T^2 (alpha TCKD + beta NCKD): TCKD is the KL divergence
    between teacher and student of (y, not y), NCKD that among the classes other than y, both at T,
    and w(t) = min(epoch / warmup_epochs, 1). Plain distillation would weigh NCKD by 1 - p_T[y]: the
    surer the teacher, the less its dark knowledge counts.
    """

    title: ClassVar[str] = "Decoupled knowledge distillation"
    paper: ClassVar[str | None] = "arXiv:2203.08679"
    teachers: ClassVar[tuple[int, int | None]] = (1, None)
    logits_alone: ClassVar[bool] = True

    name: Literal["dkd"] = "dkd"
    temperature: Temperature = 4.0
    """T, of both sides. A number or a ramp."""
    alpha: float = Field(default=1.0, ge=0, le=1000)
    """Weight of TCKD."""
    beta: float = Field(default=8.0, ge=0, le=1000)
    """Weight of NCKD. The paper's, by pair: 8 for resnet32x4 to 8x4, 6 for vgg and wrn, 2 for
    resnet56 to 20 and resnet110 to 32."""
    warmup_epochs: float = Field(default=20.0, ge=0, le=10_000)
    """Epochs over which both weights grow from 0; 0 is no warm-up. Of the paper's 240 epochs."""

    @model_validator(mode="after")
    def _something_soft(self) -> Self:
        if self.alpha == 0 == self.beta:
            raise ValueError("alpha and beta cannot both be 0")
        return self

    @property
    def whole_after_epochs(self) -> float:
        return self.warmup_epochs

    @property
    def silent_with_two_classes(self) -> str | None:
        return _one_other("beta") if self.beta > 0 else None


class DIST(Method):
    """Distillation from a stronger teacher, by correlation (Huang et al. 2022, arXiv 2205.10536).

    loss = hard_weight cross_entropy(z_s, y) + T^2 (beta inter + gamma intra). inter is 1 minus
    Pearson's correlation of teacher's and student's probabilities at T over the classes, for each
    example; intra the same over the examples of a batch, for each class. Scale and shift are free:
    the student need not reach its teacher's confidence.
    """

    title: ClassVar[str] = "DIST, correlation of probabilities"
    paper: ClassVar[str | None] = "arXiv:2205.10536"
    teachers: ClassVar[tuple[int, int | None]] = (1, None)
    logits_alone: ClassVar[bool] = True

    name: Literal["dist"] = "dist"
    temperature: Temperature = 4.0
    """T, of both sides (the paper's tau: 4 on CIFAR-100, 1 on ImageNet). A number or a ramp."""
    beta: float = Field(default=2.0, ge=0, le=1000)
    """Weight of inter (the paper: 2 on CIFAR-100, 1 on ImageNet)."""
    gamma: float = Field(default=2.0, ge=0, le=1000)
    """Weight of intra (the paper: 2 on CIFAR-100, 1 on ImageNet)."""
    hard_weight: float = Field(default=1.0, ge=0, le=1000)
    """Weight of the labels; 0 needs none."""

    @model_validator(mode="after")
    def _something_soft(self) -> Self:
        if self.beta == 0 == self.gamma:
            raise ValueError("beta and gamma cannot both be 0")
        return self

    @property
    def needs_labels(self) -> bool:
        return self.hard_weight > 0

    @property
    def silent_with_two_classes(self) -> str | None:
        if self.beta == 0:
            return None
        return "Two probabilities correlate by 1 or -1: the term of weight beta has no gradient."


class NKD(Method):
    """Normalised knowledge distillation (Yang et al. 2023, arXiv 2303.13005).

    loss = cross_entropy(z_s, y) - p[y] log q[y] + gamma T^2 cross_entropy(p', q'): p and q are the
    softmax of teacher and student at 1, p' and q' those at T of the classes other than y,
    renormalised. Losses are logged less the teacher's entropies, so that a perfect student has 0.
    """

    title: ClassVar[str] = "Normalised knowledge distillation"
    paper: ClassVar[str | None] = "arXiv:2303.13005"
    teachers: ClassVar[tuple[int, int | None]] = (1, None)
    logits_alone: ClassVar[bool] = True

    name: Literal["nkd"] = "nkd"
    gamma: float = Field(default=1.5, ge=0, le=1000)
    """Weight of the non-target term."""
    temperature: Temperature = 1.0
    """T of the non-target term alone (the paper's lambda). A number or a ramp."""

    @property
    def silent_with_two_classes(self) -> str | None:
        return _one_other("gamma") if self.gamma > 0 else None


class WTTM(Method):
    """Weighted transformed teacher matching (Zheng and Yang 2024, arXiv 2402.11148).

    loss = hard_weight cross_entropy(z_s, y) + beta U KL(softmax(z_t / T) || softmax(z_s)), where
    U = sum over classes of p^(1/T) is larger where the teacher is less sure. The student is not
    tempered, and there is no T^2.
    """

    title: ClassVar[str] = "Weighted transformed teacher matching"
    paper: ClassVar[str | None] = "arXiv:2402.11148"
    teachers: ClassVar[tuple[int, int | None]] = (1, None)
    logits_alone: ClassVar[bool] = True

    name: Literal["wttm"] = "wttm"
    temperature: Temperature = 5.0
    """T, of the teacher alone: 1 / gamma in the paper, whose code shows gamma = 0.2 with beta = 4.
    A number or a ramp."""
    beta: float = Field(default=4.0, gt=0, le=1000)
    """Weight of the teacher's term."""
    hard_weight: float = Field(default=1.0, ge=0, le=1000)
    """Weight of the labels; 0 needs none."""

    @property
    def needs_labels(self) -> bool:
        return self.hard_weight > 0


class Policy(Method):
    """Policy distillation (Rusu et al. 2016, arXiv 1511.06295).

    loss = KL(softmax(Q_t / T) || softmax(z_s)) over a data set of replayed states, where the
    teacher's outputs Q_t are action values: their differences are small beside their size, so T is
    far below 1. Only the teacher is sharpened and there is no T^2, which makes this another loss
    than `kd`. Needs no labels. A job is one task: the paper's multi-task students are not here.
    """

    title: ClassVar[str] = "Policy distillation"
    paper: ClassVar[str | None] = "arXiv:1511.06295"
    teachers: ClassVar[tuple[int, int | None]] = (1, 1)
    logits_alone: ClassVar[bool] = True

    name: Literal["policy"] = "policy"
    temperature: float = Field(default=0.01, ge=1e-6, le=1000)
    """T, of the teacher alone: below 1 sharpens it."""

    @property
    def needs_labels(self) -> bool:
        return False
