"""A job: what to distil, from whom, on what, and how."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from app.spec.base import Spec, named
from app.spec.controls import Control, ControlSpec
from app.spec.dataset import FileId, Name
from app.spec.methods import KD, Method, MethodSpec, Supervised
from app.spec.networks import NetworkSpec
from app.spec.quantization import Quantization
from app.spec.training import Training

LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
LabelValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,63}$")]
TeacherId = Annotated[str, Field(pattern=r"^tch_[A-Za-z0-9]{1,40}$")]
DatasetId = Annotated[str, Field(pattern=r"^dst_[A-Za-z0-9]{1,40}$")]


class Student(Spec):
    """The network to train, from fresh weights or from a checkpoint."""

    network: NetworkSpec
    file: FileId | None = None
    """A safetensors checkpoint of this network to start from."""
    quantize: Quantization | None = None
    """Deliver it with integers for weights, whatever the method: rounded once it has trained, the
    ranges of activations taken from examples. The baseline is rounded alike. Below 8 bits prefer
    the method `apprentice`, which trains through the rounding."""

    @model_validator(mode="after")
    def _something_to_quantise(self) -> Self:
        if self.quantize is not None and (flaw := self.quantize.flaw(self.network)):
            raise ValueError(flaw)
        return self


class Transfer(Spec):
    """Which part of the train split is the transfer set."""

    exclude_classes: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), max_length=10_000)
    """Classes left out of training (never of validation or test)."""
    fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of the remaining examples, drawn once by `seed`."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    bias_repair: bool = True
    """With classes excluded: add to their output biases the constant that is best on validation."""

    @model_validator(mode="after")
    def _classes_once(self) -> Self:
        if len(set(self.exclude_classes)) != len(self.exclude_classes):
            raise ValueError("exclude_classes names a class twice")
        return self


class Baseline(Spec):
    """The matched control: the same student, data, budget and seeds without the teacher."""

    seeds: int = Field(default=1, ge=1, le=16)
    """n trains n students and n baselines, with seeds seed, seed + 1, ..."""
    controls: tuple[ControlSpec, ...] = Field(default=(), max_length=8)
    """Further runs, n of each, that the gain over the baseline is divided by: each has a part of
    what a teacher gives. Their curves are `control/<name>/<k>/...`."""

    @model_validator(mode="after")
    def _each_control_once(self) -> Self:
        names = [control.name for control in self.controls]
        if len(set(names)) < len(names):
            raise ValueError("controls names one twice")
        return self


MODES: Final[Mapping[str, Literal["max", "min"]]] = {
    "validation/accuracy": "max",
    "validation/loss": "min",
    "validation/agreement": "max",
}
"""What epochs and students may be chosen by, and which way. Never by the split that is reported:
the best of many would look better there than it is."""


def _mode(chosen: dict[str, Any]) -> Literal["max", "min"]:
    return MODES.get(chosen.get("metric", ""), "max")


class Select(Spec):
    """Which epoch's weights are kept."""

    metric: Literal["validation/accuracy", "validation/loss", "validation/agreement", "last"] = (
        "validation/accuracy"
    )
    mode: Literal["max", "min"] = Field(default_factory=_mode)
    """Whether more of it is better, or less; left out, less loss and more of anything else."""

    @classmethod
    def auto(cls, *, validated: bool, labelled: bool) -> "Select":
        """What a job that does not say gets: by accuracy on validation, else by agreement with the
        teacher there, else the last epoch."""
        if not validated:
            return cls(metric="last")
        return cls(metric="validation/accuracy" if labelled else "validation/agreement")


class JobSpec(Spec):
    """The body of POST /jobs. The smallest job is teachers, dataset and student."""

    name: Name | None = None
    teachers: tuple[TeacherId, ...] = Field(default=(), max_length=64)
    dataset: DatasetId
    student: Student
    method: MethodSpec = KD()
    training: Training = Training()
    transfer: Transfer = Transfer()
    baseline: Baseline | None = Baseline()
    select: Select | None = None
    """Null picks validation accuracy, or agreement with the teacher when there are no labels."""
    max_runtime_s: int | None = Field(default=None, ge=1, le=30 * 24 * 3600)
    priority: Literal["low", "normal", "high"] = "normal"
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=64)

    @field_validator("method", mode="before")
    @classmethod
    def _kd_by_default(cls, value: Any) -> Any:
        return named(value, "kd")

    @model_validator(mode="after")
    def _teachers_fit_the_method(self) -> Self:
        most = self.method.teacher_bounds[1]
        if most is not None and len(self.teachers) > most:
            raise ValueError(
                f"{self.method.name} takes {most or 'no'} teachers, {len(self.teachers)} given"
            )
        if len(set(self.teachers)) != len(self.teachers):
            raise ValueError("teachers names one twice")
        return self

    @model_validator(mode="after")
    def _quantised_once(self) -> Self:
        if self.student.quantize is not None and self.method.quantization is not None:
            raise ValueError(
                f"{self.method.name} quantises its student itself: leave student.quantize out"
            )
        return self

    @model_validator(mode="after")
    def _epochs_for_every_stage(self) -> Self:
        self.stage_epochs  # noqa: B018  (raises)
        return self

    @property
    def stage_epochs(self) -> tuple[int, ...]:
        """Epochs of each stage that makes one student."""
        return self.method.stage_epochs(self.training.epochs)

    @property
    def controls(self) -> tuple[Control, ...]:
        return self.baseline.controls if self.baseline else ()

    @property
    def baseline_method(self) -> Method:
        """What trains the matched baseline, without a teacher."""
        return self.method.control or Supervised()

    def planned_epochs(self, *, compared: bool) -> tuple[int, ...]:
        """Epochs of every stage of the job, in order: the students', and where they are compared
        with something the baselines' and each control's."""
        seeds = self.baseline.seeds if self.baseline else 1
        planned = seeds * self.stage_epochs
        if compared:
            planned += seeds * self.baseline_method.stage_epochs(self.training.epochs)
            for control in self.controls:
                planned += seeds * control.stage_epochs(self.method, self.training.epochs)
        return planned
