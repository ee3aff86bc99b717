"""A dataset as read to a dataset as trained on: cut, measured, and written to one file."""

from pathlib import Path

import numpy as np

from app.spec.dataset import SPLITS, DatasetFacts, DatasetSpec, SplitName
from app.spec.problems import Refused
from workers.data import prepared
from workers.data.cut import cut
from workers.data.normalize import preprocess
from workers.data.preview import PREVIEW_ROWS, preview
from workers.data.raw import Array, Raw, RawSplit

# The order matters: validation is a fraction of what test leaves.
CUTS: tuple[SplitName, ...] = ("test", "validation")


def prepare(raw: Raw, spec: DatasetSpec, out_path: Path) -> DatasetFacts:
    """Cuts the splits that the source lacks and writes the prepared file.

    Raises Refused 422: `too_few_rows` when nothing would be left to train on, `normalize_shape`.
    """
    places = _cut_missing(raw, spec)
    sources = {split: raw.splits.get(split, raw.splits["train"]) for split in places}
    train, train_places = sources["train"], places["train"]
    constants = preprocess(train.x, train_places, spec.normalize, raw.scale)
    tensors = {
        f"{split}.{name}": rows
        for split, source in sources.items()
        for name, rows in _tensors(source, places[split], raw).items()
    }
    first = slice(PREVIEW_ROWS) if train_places is None else train_places[:PREVIEW_ROWS]
    balance = {
        split: _balance(source.y, places[split], raw.classes or 0)
        for split, source in sources.items()
        if source.y is not None
    }
    sha256, size = prepared.write(out_path, tensors)
    return DatasetFacts(
        rows={split: tensors[f"{split}.x"].shape[0] if split in sources else 0 for split in SPLITS},
        classes=raw.classes,
        class_names=raw.class_names,
        feature_shape=train.x.shape[1:],
        feature_dtype=str(train.x.dtype),
        class_balance=balance or None,
        preprocess=constants,
        labelled=bool(balance),
        cut=tuple(split for split in places if split not in raw.splits),
        teacher_outputs=raw.teacher_outputs,
        license=spec.license or raw.license,
        sha256=sha256,
        bytes=size,
        preview=preview(
            train.x[first], None if train.y is None else train.y[first], constants.scale
        ),
    )


def _cut_missing(raw: Raw, spec: DatasetSpec) -> dict[SplitName, Array | None]:
    """Of each split the rows it takes: of its own source, or of train where it has none.

    None stands for all rows.
    """
    train = raw.splits["train"]
    places: dict[SplitName, Array | None] = dict.fromkeys(raw.splits)
    left = np.arange(len(train.x))
    for name in CUTS:
        fraction: float = getattr(spec.splits, name)
        if name in raw.splits or not fraction:
            continue
        labels = None if train.y is None else train.y[left]
        taken = cut(len(left), labels, fraction, spec.split_seed, name)
        if not taken.any():
            raise Refused.invalid(
                "too_few_rows",
                f"No row of train can be spared for {name}: each is the only one of its class.",
                f'Set "splits": {{"{name}": 0}} to cut nothing.',
            )
        places[name], left = left[taken], left[~taken]
        places["train"] = left
    return {split: places[split] for split in SPLITS if split in places}


def _tensors(source: RawSplit, places: Array | None, raw: Raw) -> dict[str, prepared.Rows]:
    named = {
        "x": source.x,
        "y": source.y,
        f"teacher_{raw.teacher_outputs}": source.teacher,
    }
    return {
        name: prepared.Rows(array, places) for name, array in named.items() if array is not None
    }


def _balance(y: Array, places: Array | None, classes: int) -> tuple[int, ...]:
    chosen = y if places is None else y[places]
    return tuple(np.bincount(chosen, minlength=classes).tolist())
