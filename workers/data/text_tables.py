"""CSV and JSONL: read a block of lines at a time, and no line longer than the limit."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.csv

from app.spec.dataset import SplitName
from app.spec.problems import Refused
from workers.data import columns, tabular
from workers.data.collect import Collector
from workers.data.raw import Limits

BLOCK_BYTES = 2**20
BATCH_LINES = 4096
BATCH_LINE_BYTES = 16 * 2**20
UTF8_MARK = b"\xef\xbb\xbf"


def read_csv(path: Path, split: SplitName | None, collector: Collector) -> None:
    """A line of column names, then rows, separated by commas.

    Raises Refused: 413 past a limit, 422 with the row that is wrong.
    """
    limits = collector.limits
    _check_csv(path, limits)
    # A block must hold any line that passed.
    reading = pa.csv.ReadOptions(
        block_size=max(BLOCK_BYTES, limits.max_line_bytes), use_threads=False
    )
    try:
        with pa.csv.open_csv(path, read_options=reading) as file:
            schema = file.schema
        chosen = tabular.choose(
            schema.names,
            lambda name: columns.is_number(schema.field(name).type),
            collector.spec,
            split,
        )
        types = dict.fromkeys(chosen.features, pa.float64())
        # Text, so that labels which only later turn out to be words are still read.
        types |= {name: pa.string() for name in (chosen.label, chosen.split) if name}
        converting = pa.csv.ConvertOptions(column_types=types, include_columns=chosen.names)
        first_row = 0
        with pa.csv.open_csv(path, read_options=reading, convert_options=converting) as file:
            for batch in file:
                found = dict(zip(batch.schema.names, batch.columns, strict=True))
                tabular.add(found, chosen, split, first_row, collector)
                first_row += batch.num_rows
    except tabular.UNREADABLE as error:
        raise Refused.invalid(
            "invalid_csv", f"The CSV file cannot be read: {str(error)[:500]}"
        ) from error


def read_jsonl(path: Path, split: SplitName | None, collector: Collector) -> None:
    """An object a line; the first one names the columns.

    Raises Refused: 413 past a limit, 422 with the line that is wrong.
    """
    chosen: tabular.Chosen | None = None
    first_row = 0
    for rows in _batches(path, collector.limits):
        if chosen is None:
            chosen = _choose(rows[0], split, collector)
        batch = {name: _column(name, rows) for name in chosen.names}
        tabular.add(batch, chosen, split, first_row, collector)
        first_row += len(rows)


def _lines(path: Path, limits: Limits) -> Iterator[bytes]:
    """Raises Refused 413 for a line that is too long, before more of it is read."""
    with path.open("rb") as file:
        while line := file.readline(limits.max_line_bytes + 1):
            if len(line) > limits.max_line_bytes:
                raise Refused.too_large(
                    "line_too_long", f"A line is longer than {limits.max_line_bytes} bytes."
                )
            yield line


def _check_csv(path: Path, limits: Limits) -> None:
    """Raises Refused 413 for a line that is too long, too many columns or too many rows."""
    rows = -1
    for line in _lines(path, limits):
        rows += 1
        if not rows and line.count(b",") >= limits.max_columns:
            raise Refused.too_large("too_many_columns", f"Over {limits.max_columns} columns.")
    limits.check_rows(rows)


def _batches(path: Path, limits: Limits) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for number, line in enumerate(_lines(path, limits), start=1):
        if not line.strip():
            continue
        rows.append(_object(line.removeprefix(UTF8_MARK) if number == 1 else line, number))
        size += len(line)
        if len(rows) >= BATCH_LINES or size >= BATCH_LINE_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _object(line: bytes, number: int) -> dict[str, Any]:
    try:
        found = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused.invalid("invalid_jsonl", f"Line {number} is not JSON.") from error
    if not isinstance(found, dict):
        raise Refused.invalid("invalid_jsonl", f"Line {number} is not a JSON object.")
    return found


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _choose(first: dict[str, Any], split: SplitName | None, collector: Collector) -> tabular.Chosen:
    return tabular.choose(
        list(first), lambda name: type(first[name]) in (int, float), collector.spec, split
    )


def _column(name: str, rows: list[dict[str, Any]]) -> pa.Array:
    try:
        return pa.array([row.get(name) for row in rows])
    except tabular.UNREADABLE as error:
        raise Refused.invalid(
            "unsupported_column", f"Column {name!r} mixes types, or holds numbers beyond 64 bits."
        ) from error
