"""How a network is trained: optimiser, schedule, augmentation, precision."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from app.spec.base import Spec, named

Rate = Annotated[float, Field(gt=0, le=100)]


class SGD(Spec):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: Rate = 0.05
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Adam(Spec):
    """Adam (Kingma and Ba 2015); `weight_decay` is an L2 penalty."""

    name: Literal["adam"] = "adam"
    lr: Rate = 1e-3
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.999,
    )
    weight_decay: float = Field(default=0.0, ge=0, le=1)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    weight_decay: float = Field(default=0.01, ge=0, le=1)


OptimizerSpec = Annotated[SGD | Adam | AdamW, Field(discriminator="name")]


class Schedule(Spec):
    """The learning rate as a factor of `optimizer.lr`, warmed up linearly from 0."""

    name: Literal["constant", "cosine", "step"] = "cosine"
    warmup_epochs: float = Field(default=0.0, ge=0, le=10_000)
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(), max_length=100)
    """Epochs after which the rate is multiplied by gamma (`step` only)."""
    gamma: float = Field(default=0.1, gt=0, le=1)

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must rise")
        if self.milestones and self.name != "step":
            raise ValueError("milestones belong to the step schedule")
        return self


class Shift(Spec):
    """Moves an image by up to `pixels` in each direction, filling with zeros (Hinton's jitter)."""

    name: Literal["shift"] = "shift"
    pixels: int = Field(default=2, ge=1, le=64)

    @property
    def reach(self) -> tuple[str, int]:
        """The field that says how far an image may be moved, and its value in pixels."""
        return "pixels", self.pixels


class Crop(Spec):
    """Pads with zeros on every side and cuts the original size out at random."""

    name: Literal["crop"] = "crop"
    padding: int = Field(default=4, ge=1, le=64)

    @property
    def reach(self) -> tuple[str, int]:
        """As a shift's."""
        return "padding", self.padding


class Flip(Spec):
    """Mirrors left and right with probability 1/2."""

    name: Literal["flip"] = "flip"


Augmentation = Annotated[Shift | Crop | Flip, Field(discriminator="name")]


class Training(Spec):
    """One training run's budget and settings."""

    epochs: int = Field(default=20, ge=1, le=10_000)
    batch_size: int = Field(default=128, ge=1, le=65_536)
    optimizer: OptimizerSpec = SGD()
    schedule: Schedule = Schedule()
    augment: tuple[Augmentation, ...] = Field(default=(), max_length=8)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of forward and backward; weights, softmax and the report stay in float32. Curves
    on validation, by which an epoch is chosen, are measured in this arithmetic."""
    clip_norm: float | None = Field(default=None, gt=0, le=1e6)
    """Upper bound on the L2 norm of all gradients together."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Initial weights, order of the examples, dropout."""
    view_seed: int = Field(default=0, ge=0, lt=2**31)
    """Augmented views. Jobs that share it share their teacher's outputs."""
    log_every: int | None = Field(default=None, ge=1, le=1_000_000)
    """Steps between training metrics; null takes about 500 points a stage."""
    eval_every: int = Field(default=1, ge=1, le=10_000)
    """Epochs between evaluations on the validation split; the last epoch is always evaluated."""

    @field_validator("optimizer", mode="before")
    @classmethod
    def _sgd_by_default(cls, value: Any) -> Any:
        return named(value, "sgd")

    def steps_per_epoch(self, examples: int) -> int:
        """Batches of an epoch. A last batch of one example is left out: BatchNorm has no variance
        there."""
        whole, rest = divmod(examples, self.batch_size)
        return max(whole + (rest > 1), 1)

    def shortened(self, epochs: int) -> "Training":
        """The same settings over fewer (or more) epochs: the schedule shrinks in proportion."""
        factor = epochs / self.epochs
        schedule = self.schedule.model_copy(
            update={
                "warmup_epochs": self.schedule.warmup_epochs * factor,
                "milestones": tuple(milestone * factor for milestone in self.schedule.milestones),
            }
        )
        return self.model_copy(update={"epochs": epochs, "schedule": schedule})


NARROW_FROM_FLOPS = 1_000_000
"""Below this work an example, casting costs more than narrow arithmetic gains: see
docs/benchmarks.md."""


def auto_precision(flops: int, *, fast_bf16: bool) -> Literal["fp32", "bf16"]:
    """What `precision: auto` becomes for a student of `flops` (forward, an example)."""
    return "bf16" if fast_bf16 and flops >= NARROW_FROM_FLOPS else "fp32"
