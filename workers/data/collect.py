"""Rows gathered by split, under the limits, into one dataset that fits together."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from app.spec.dataset import SPLITS, DatasetSpec, SplitName, TeacherOutputs
from app.spec.problems import Refused
from workers.data.features import as_features
from workers.data.labels import Labels
from workers.data.raw import Array, Limits, Raw, RawSplit, Rows

# Softmax outputs that went through float16 or a CSV still sum to one within this.
PROBABILITY_TOLERANCE = 5e-3


@dataclass
class Collector:
    """Gathers rows by split, and refuses them the moment they pass a limit."""

    spec: DatasetSpec
    limits: Limits
    labels: Labels = field(default_factory=Labels)
    _parts: dict[SplitName, list[Rows]] = field(default_factory=dict)
    _bytes: int = 0
    _rows: int = 0
    _outputs: TeacherOutputs | None = None

    def add(self, split: SplitName, rows: Rows) -> None:
        """Raises Refused: 413 past a limit, 422 for rows unlike those before."""
        if not len(rows.x):
            return
        x = as_features(rows.x, lambda row, value: rows.place(split, row, value))
        teacher = rows.teacher
        for name, found in (("labels", rows.labels), ("teacher outputs", teacher)):
            if found is not None and len(found) != len(x):
                raise Refused.invalid(
                    "length_mismatch",
                    f"The {split} split has {len(x)} rows of features, but {len(found)} {name}.",
                )
        if teacher is not None:
            teacher = _checked_teacher(teacher, rows.teacher_outputs)
            self._outputs = self._outputs or rows.teacher_outputs
            if self._outputs != rows.teacher_outputs:
                raise Refused.invalid(
                    "mixed_teacher_outputs", "Give teacher logits or probabilities, not both."
                )
        self._count(x, teacher)
        kept = Rows(x, rows.labels, teacher)
        parts = self._parts.setdefault(split, [])
        if parts:
            self._check_alike(parts[0], kept, sum(len(part.x) for part in parts))
        parts.append(kept)

    def finish(self) -> Raw:
        """Raises Refused 422 when there is no train split, or the splits do not fit together."""
        if "train" not in self._parts:
            raise Refused.invalid("no_train_rows", "The data has no rows for the train split.")
        names = self.labels.decide(self.spec.class_names)
        found: dict[SplitName, RawSplit] = {}
        for split in [split for split in SPLITS if split in self._parts]:
            parts = self._parts.pop(split)
            codes = [part.labels for part in parts if part.labels is not None]
            teacher = [part.teacher for part in parts if part.teacher is not None]
            found[split] = RawSplit(
                x=_joined([part.x for part in parts]),
                y=self.labels.integers(codes) if codes else None,
                teacher=_joined(teacher) if teacher else None,
            )
        dtype = np.result_type(*(split.x for split in found.values()))
        found = {
            name: replace(split, x=split.x.astype(dtype, copy=False))
            for name, split in found.items()
        }
        return Raw(found, _count_classes(found, names), names, self._outputs)

    def _count(self, x: Array, teacher: Array | None) -> None:
        self._rows += len(x)
        self._bytes += x.nbytes + (teacher.nbytes if teacher is not None else 0)
        self.limits.check_rows(self._rows)
        self.limits.check_bytes(self._bytes)

    def _check_alike(self, first: Rows, rows: Rows, at: int) -> None:
        if rows.x.shape[1:] != first.x.shape[1:]:
            raise Refused.invalid(
                "ragged_features",
                f"Row {at} has shape {rows.x.shape[1:]}, the rows before {first.x.shape[1:]}.",
            )
        if (rows.labels is None) != (first.labels is None):
            raise Refused.invalid("missing_label", f"From row {at} on labels are missing.")
        shapes = {None if part.teacher is None else part.teacher.shape[1] for part in (first, rows)}
        if len(shapes) > 1:
            raise Refused.invalid(
                "ragged_teacher_outputs", f"From row {at} on the teacher's outputs differ in width."
            )


def _joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _checked_teacher(teacher: Array, outputs: TeacherOutputs | None) -> Array:
    """(N, classes) as float32. Raises Refused 422 `invalid_teacher_outputs`."""
    if teacher.ndim != 2 or not teacher.shape[1] or teacher.dtype.kind not in "iuf":
        raise Refused.invalid(
            "invalid_teacher_outputs",
            f"Teacher outputs are numbers, rows x classes, not {teacher.dtype} {teacher.shape}.",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        teacher = teacher.astype(np.float32)
    if not np.isfinite(teacher).all():
        raise Refused.invalid("invalid_teacher_outputs", "Teacher outputs hold NaN or infinity.")
    if outputs == "probabilities" and (
        teacher.min() < 0 or np.abs(teacher.sum(axis=1) - 1).max() > PROBABILITY_TOLERANCE
    ):
        raise Refused.invalid(
            "invalid_teacher_outputs",
            "Teacher probabilities must be at least 0 and sum to 1 in each row.",
        )
    return teacher


def _count_classes(splits: dict[SplitName, RawSplit], names: Sequence[str] | None) -> int | None:
    """The teacher's width, else the number of names, else the highest label and one.

    Raises Refused 422 where these contradict each other.
    """
    shapes = {split.x.shape[1:] for split in splits.values()}
    if len(shapes) > 1:
        raise Refused.invalid("ragged_features", f"The splits differ in shape: {sorted(shapes)}.")
    widths = {split.teacher.shape[1] for split in splits.values() if split.teacher is not None}
    if widths and splits["train"].teacher is None:
        raise Refused.invalid("missing_teacher_outputs", "Train has no teacher outputs, others do.")
    if names is not None:
        widths.add(len(names))
    if len(widths) > 1:
        raise Refused.invalid(
            "class_count_mismatch",
            "The splits' teacher outputs, or they and class_names, differ in classes.",
        )
    highest = max((int(s.y.max()) for s in splits.values() if s.y is not None), default=-1)
    classes = next(iter(widths), highest + 1)
    if highest >= classes:
        raise Refused.invalid(
            "label_out_of_range", f"Label {highest} is not one of {classes} classes."
        )
    return classes or None
