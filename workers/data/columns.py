"""Arrow columns, as Parquet, CSV and JSONL give them, to numpy."""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute

from app.spec.dataset import SplitName
from app.spec.problems import Refused
from workers.data import images
from workers.data.labels import Codes, Labels
from workers.data.raw import Array, Limits

# The names that published data sets give their splits.
SPLIT_NAMES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}

MAX_DIMENSIONS = 4


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type can be one feature among several."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def features(
    names: Sequence[str], columns: Sequence[pa.Array], first_row: int, limits: Limits
) -> Array:
    """Images, lists or numbers to (N, ...). Raises Refused 413 or 422, naming the column."""
    if len(columns) > 1:
        table = [
            numbers(name, column, first_row) for name, column in zip(names, columns, strict=True)
        ]
        for name, values in zip(names, table, strict=True):
            if values.ndim != 1:
                _refuse_type(name, "lists, but several feature columns must each hold one number")
        with np.errstate(over="ignore", invalid="ignore"):  # refused as not finite
            return np.stack([values.astype(np.float32) for values in table], axis=1)
    name, column = names[0], columns[0]
    if pa.types.is_struct(column.type):
        fields = {field.name for field in column.type}
        if "bytes" not in fields:
            _refuse_type(name, f"a struct of {sorted(fields)} without bytes")
        column = pa.compute.struct_field(column, "bytes")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return images.decode(column.to_pylist(), first_row, limits)
    values = numbers(name, column, first_row)
    return values[:, None] if values.ndim == 1 else values


def numbers(name: str, column: pa.Array, first_row: int) -> Array:
    """A column of numbers, or of lists of one length, nested or not, to (N, ...).

    Raises Refused 422: `missing_value`, `ragged_features` or `unsupported_column`.
    """
    shape = [len(column)]
    while _is_list(column.type):
        _refuse_nulls(name, column, first_row, shape)
        shape.append(_width(name, column))
        if len(shape) > MAX_DIMENSIONS:
            _refuse_type(name, "lists nested too deep")
        column = column.flatten()
    _refuse_nulls(name, column, first_row, shape)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if not is_number(column.type) and not pa.types.is_boolean(column.type):
        _refuse_type(name, str(column.type))
    return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(shape)


def labels(name: str, column: pa.Array, first_row: int, known: Labels) -> Codes:
    """(N,) classes: integers as they are, text through `known`. Raises Refused 422."""
    if column.null_count:
        raise Refused.invalid(
            "missing_label",
            f"Row {first_row + _first_null(column)} (counted from 0) has no label in column "
            f"{name!r}.",
            'Set "label" to null for an unlabelled transfer set.',
        )
    if not _is_text(column.type):
        return known.numbers(numbers(name, column, first_row))
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return known.words(encoded.dictionary.to_pylist(), encoded.indices.to_numpy())


def by_split(column: pa.Array) -> dict[SplitName, Array]:
    """The places of the rows of each split, (n,) int. Raises Refused 422 `unknown_split`."""
    if not _is_text(column.type) or column.null_count:
        raise Refused.invalid("unknown_split", "The split column holds rows without a name.")
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = encoded.indices.to_numpy()
    found: dict[SplitName, list[int]] = {}
    for code, word in enumerate(encoded.dictionary.to_pylist()):
        split = SPLIT_NAMES.get(word.strip().lower())
        if split is None:
            raise Refused.invalid(
                "unknown_split",
                f"The split column holds {word[:100]!a}.",
                "Splits are train, validation and test.",
            )
        found.setdefault(split, []).append(code)
    return {split: np.flatnonzero(np.isin(codes, words)) for split, words in found.items()}


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _width(name: str, column: pa.Array) -> int:
    """The one length of all lists in the column."""
    if pa.types.is_fixed_size_list(column.type):
        return int(column.type.list_size)
    lengths = column.value_lengths().to_numpy()
    if not len(lengths):
        return 0
    unlike = np.flatnonzero(lengths != lengths[0])
    if len(unlike):
        raise Refused.invalid(
            "ragged_features",
            f"Column {name!r} holds lists of {lengths[0]} and of {lengths[unlike[0]]} values.",
        )
    return int(lengths[0])


def _refuse_nulls(name: str, column: pa.Array, first_row: int, shape: Sequence[int]) -> None:
    """`shape` is that of the values so far: a row has as many as its inner extents make."""
    if column.null_count:
        row = first_row + _first_null(column) // math.prod(shape[1:])
        raise Refused.invalid(
            "missing_value",
            f"Row {row} (counted from 0), column {name!r}, has a missing value (empty or NaN), or "
            "one of another type.",
            "Fill such values in, or leave such rows out.",
        )


def _first_null(column: pa.Array) -> int:
    return int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))


def _refuse_type(name: str, found: str) -> None:
    raise Refused.invalid(
        "unsupported_column",
        f"Column {name!r} holds {found}.",
        "Features are numbers, lists of numbers, or image bytes (PNG, JPEG, WebP).",
    )
