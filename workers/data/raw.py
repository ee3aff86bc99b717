"""What a reader hands on, and the limits it reads under."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from app.spec.dataset import SplitName, TeacherOutputs
from app.spec.problems import Refused
from workers.data.labels import Codes

Array = npt.NDArray[Any]

TEACHER_OUTPUTS: tuple[TeacherOutputs, ...] = ("logits", "probabilities")


@dataclass(frozen=True)
class Limits:
    """What a dataset may grow to while it is read; past any of them the answer is 413."""

    max_bytes: int = 8 * 2**30
    """Decoded: what the arrays take in memory."""
    max_rows: int = 50_000_000
    max_line_bytes: int = 16 * 2**20
    max_pixels: int = 16 * 2**20
    """Of one image."""
    max_columns: int = 20_000

    def check_bytes(self, size: int) -> None:
        """Raises Refused 413 `dataset_too_large`."""
        if size > self.max_bytes:
            raise Refused.too_large(
                "dataset_too_large", f"The data decodes to more than {self.max_bytes} bytes."
            )

    def check_rows(self, rows: int) -> None:
        """Raises Refused 413 `too_many_rows`."""
        if rows > self.max_rows:
            raise Refused.too_large("too_many_rows", f"More than {self.max_rows} rows.")


@dataclass(frozen=True)
class RawSplit:
    """x: (N, D) float32, or (N, H, W[, C]) uint8, uint16 or float32; y: (N,) int64;
    teacher: (N, classes) float32, finite."""

    x: Array
    y: Array | None
    teacher: Array | None


@dataclass(frozen=True)
class Raw:
    """A dataset as its source has it: nothing cut, nothing normalised."""

    splits: dict[SplitName, RawSplit]
    classes: int | None
    class_names: tuple[str, ...] | None
    teacher_outputs: TeacherOutputs | None
    scale: float | None = None
    """What brings a stored value to [0, 1], where the dtype alone does not tell."""
    license: str | None = None
    """Of a source whose own is known."""


@dataclass(frozen=True)
class Rows:
    """Some rows as a reader found them, of one split: as many labels and teacher rows as rows."""

    x: Array
    labels: Codes | None = None
    teacher: Array | None = None
    teacher_outputs: TeacherOutputs | None = None
    columns: Sequence[str] = ()
    """What the features are called in the file: each one, or all of them together."""
    places: Array | int = 0
    """Which rows of the file these are, or only which is the first of them."""

    def take(self, places: Array) -> "Rows":
        """The rows at these places, in their order."""
        labels, teacher = self.labels, self.teacher
        return Rows(
            self.x[places],
            Codes(labels.values[places], labels.text) if labels is not None else None,
            teacher[places] if teacher is not None else None,
            self.teacher_outputs,
            self.columns,
            self.places + places,
        )

    def place(self, split: SplitName, row: int, value: int) -> str:
        """Where a person finds a value of one of these rows."""
        at = self.places + row if isinstance(self.places, int) else self.places[row]
        column = ""
        if len(self.columns) > 1:
            column = f", column {self.columns[value]!r},"
        elif self.columns:
            column = f", value {value} of {self.columns[0]!r},"
        return f"Row {at} (counted from 0){column} of the {split} split"


def one_of_outputs(names: Iterable[str]) -> TeacherOutputs | None:
    """Which of `teacher_logits` and `teacher_probabilities` is among these names, if any.

    Raises Refused 422 `mixed_teacher_outputs` when both are.
    """
    names = set(names)
    found = [outputs for outputs in TEACHER_OUTPUTS if f"teacher_{outputs}" in names]
    if len(found) > 1:
        raise Refused.invalid(
            "mixed_teacher_outputs", "Give teacher logits or probabilities, not both."
        )
    return found[0] if found else None
