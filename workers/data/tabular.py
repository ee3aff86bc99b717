"""What Parquet, CSV and JSONL share: which columns to read, and how a batch of them is added."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from app.spec.dataset import DEFAULT_FEATURES, DatasetSpec, SplitName, TeacherOutputs
from app.spec.problems import Refused
from workers.data import columns
from workers.data.collect import Collector
from workers.data.raw import Rows, one_of_outputs

SPLIT_COLUMN = "split"

# What Arrow raises for bytes or values that are not what they seem.
UNREADABLE = (pa.ArrowException, OSError, ValueError, TypeError, OverflowError)


@dataclass(frozen=True)
class Chosen:
    """The columns of a file that are read; everything else in it is left alone."""

    features: tuple[str, ...]
    label: str | None
    split: str | None
    teacher_outputs: TeacherOutputs | None

    @property
    def names(self) -> list[str]:
        named = [*self.features, self.label, self.split, self.teacher]
        return list(dict.fromkeys(name for name in named if name is not None))

    @property
    def teacher(self) -> str | None:
        return f"teacher_{self.teacher_outputs}" if self.teacher_outputs else None


def choose(
    available: Sequence[str],
    is_number: Callable[[str], bool],
    spec: DatasetSpec,
    split: SplitName | None,
) -> Chosen:
    """`split` is what the file was named for: its own split column is then left unread.

    Raises Refused 422: `missing_column`, with the columns there are in its hint, or
    `duplicate_column`.
    """
    if len(set(available)) != len(available):
        raise Refused.invalid(
            "duplicate_column",
            "Two columns have the same name.",
            "Or the file lacks the line that names its columns.",
        )
    # A label that is left unread is no feature either.
    reserved = {spec.label, DatasetSpec.model_fields["label"].default, SPLIT_COLUMN}
    if spec.features is None or (
        spec.features == DEFAULT_FEATURES and DEFAULT_FEATURES not in available
    ):
        features = tuple(name for name in available if name not in reserved and is_number(name))
        if not features:
            _refuse_missing(
                f"{DEFAULT_FEATURES!r}, nor one of numbers to take its place", available
            )
    else:
        features = (spec.features,) if isinstance(spec.features, str) else spec.features
    for name in (*features, spec.label):
        if name is not None and name not in available:
            _refuse_missing(repr(name), available)
    own_split = SPLIT_COLUMN if split is None and SPLIT_COLUMN in available else None
    return Chosen(features, spec.label, own_split, one_of_outputs(available))


def add(
    batch: Mapping[str, pa.Array],
    chosen: Chosen,
    split: SplitName | None,
    first_row: int,
    collector: Collector,
) -> None:
    """Adds a batch of rows, each to its split. Raises Refused 413 or 422."""
    x = columns.features(
        chosen.features, [batch[name] for name in chosen.features], first_row, collector.limits
    )
    label, teacher = chosen.label, chosen.teacher
    rows = Rows(
        x,
        columns.labels(label, batch[label], first_row, collector.labels) if label else None,
        columns.numbers(teacher, batch[teacher], first_row) if teacher else None,
        chosen.teacher_outputs,
        chosen.features,
        first_row,
    )
    if chosen.split is None:
        collector.add(split or "train", rows)
        return
    for name, places in columns.by_split(batch[chosen.split]).items():
        collector.add(name, rows.take(places))


def _refuse_missing(what: str, available: Sequence[str]) -> None:
    raise Refused.invalid(
        "missing_column",
        f"There is no column {what}.",
        f"The file has: {', '.join(repr(column) for column in available[:50]) or 'none'}.",
    )
