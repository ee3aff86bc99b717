"""Students of low precision."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.spec.methods.base import Flaw, Method
from app.spec.networks import Network, NetworkSpec
from app.spec.quantization import Quantization
from app.spec.schedules import Temperature


class Apprentice(Method):
    """Apprentice (Mishra and Marr 2017, arXiv 1711.05852): a low-precision student.

    loss = alpha cross_entropy(z_T, y) + beta cross_entropy(z_A, y) + gamma T^2 KL(softmax(z_T / T)
    || softmax(z_A / T)), z_T held fixed in the last term. The student computes with rounded weights
    and activations while it trains, and its gradients go straight through the rounding. Schemes:
    `a`, a full-precision teacher trains beside the student, both from scratch; `b`, the job's
    teachers are trained and frozen, and the student starts from scratch; `c`, as b, but the student
    first learns at full precision, is then quantised, and fine-tuned at a low rate. The first and
    last layers stay at full precision unless `quantize` says otherwise. The student is delivered
    with integers for weights; the baseline trains alike, on the labels alone.
    """

    title: ClassVar[str] = "Apprentice"
    paper: ClassVar[str | None] = "arXiv:1711.05852"
    teachers: ClassVar[tuple[int, int | None]] = (0, None)
    logits_alone: ClassVar[bool] = True

    name: Literal["apprentice"] = "apprentice"
    scheme: Literal["a", "b", "c"] = "c"
    """The paper found c the best."""
    quantize: Quantization = Quantization()
    alpha: float = Field(default=1.0, gt=0, le=1000)
    """Weight of the labels for the teacher (scheme a; the others' teachers do not train)."""
    beta: float = Field(default=0.5, ge=0, le=1000)
    """Weight of the labels for the student; schemes b and c need none with 0."""
    gamma: float = Field(default=0.5, ge=0, le=1000)
    """Weight of the teacher. With 0 there is none: plain quantisation-aware training."""
    temperature: Temperature = 1.0
    """T; the paper's is 1. A number or a ramp."""
    teacher_network: NetworkSpec | None = None
    """The teacher of scheme a; null is the student's own network, at full precision."""
    fine_tune_epochs: int | None = Field(default=None, ge=1, le=10_000)
    """Scheme c: epochs after quantisation, taken from the job's, so that all schemes train equally
    long; null is a quarter of them. Each stage runs the job's schedule, shortened to its length."""
    fine_tune_lr_scale: float = Field(default=0.1, gt=0, le=10)
    """Scheme c: factor on `optimizer.lr` after quantisation."""

    @model_validator(mode="after")
    def _learns_from_something(self) -> Self:
        if self.beta == 0 == self.gamma:
            raise ValueError("beta and gamma cannot both be 0")
        if self.teacher_network is not None and self.scheme != "a":
            raise ValueError("teacher_network belongs to scheme a: b and c have trained teachers")
        return self

    @property
    def needs_labels(self) -> bool:
        return self.scheme == "a" or self.beta > 0

    @property
    def teacher_bounds(self) -> tuple[int, int | None]:
        return (0, 0) if self.scheme == "a" or self.gamma == 0 else (1, None)

    @property
    def quantization(self) -> Quantization | None:
        return self.quantize

    @property
    def control(self) -> Method | None:
        alone = Apprentice(quantize=self.quantize, beta=1.0, gamma=0.0)
        if self.scheme != "c":
            return alone.model_copy(update={"scheme": "b"})
        same = ("fine_tune_epochs", "fine_tune_lr_scale")
        return alone.model_copy(update={name: getattr(self, name) for name in same})

    def peers_of(self, student: NetworkSpec) -> tuple[NetworkSpec, ...]:
        return (self.teacher_network or student,) if self.scheme == "a" else ()

    def peer_pointer(self, index: int) -> str:  # noqa: ARG002
        return "/method/teacher_network"

    def stage_epochs(self, epochs: int) -> tuple[int, ...]:
        if self.scheme != "c":
            return (epochs,)
        tuning = max(epochs // 4, 1) if self.fine_tune_epochs is None else self.fine_tune_epochs
        if tuning >= epochs:
            raise ValueError(
                f"scheme c has two stages: of {epochs} epochs {tuning} would go into fine-tuning, "
                "and none would be left for full precision"
            )
        return (epochs - tuning, tuning)

    def flaws(self, student: Network, teachers: Sequence[Network]) -> Iterator[Flaw]:
        yield from super().flaws(student, teachers)
        if detail := self.quantize.flaw(student):
            yield "/method/quantize", "nothing_to_quantise", detail
