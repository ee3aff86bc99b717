"""Parquet, whose small files can stand for enormous ones: what the pages decode to is counted
first, and rows are decoded in batches that stay small whatever the encoding."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.spec.dataset import SplitName
from app.spec.problems import Refused
from workers.data import columns, tabular
from workers.data.collect import Collector
from workers.data.parquet_pages import MAX_FOOTER_BYTES, Group, walk
from workers.data.raw import Limits

MAX_FOOTER_ITEMS = 1_000_000
MAX_SCHEMA_DEPTH = 16
BATCH_BYTES = 2**30
BATCH_ROWS = 65_536
NUMBER_BYTES = 8


def read_parquet(path: Path, split: SplitName | None, collector: Collector) -> None:
    """Raises Refused: 413 past a limit, from the pages' headers or while decoding; 422."""
    groups = walk(path)
    collector.limits.check_rows(sum(group.rows for group in groups))
    try:
        with pq.ParquetFile(
            path,
            pre_buffer=False,
            thrift_string_size_limit=MAX_FOOTER_BYTES,
            thrift_container_size_limit=MAX_FOOTER_ITEMS,
            schema_depth_limit=MAX_SCHEMA_DEPTH,
            arrow_extensions_enabled=False,
        ) as file:
            chosen = _choose(file.schema_arrow, split, collector)
            _check_decoded_size(groups, chosen.names, collector.limits)
            _add_batches(file, groups, chosen, split, collector)
    except MemoryError:
        raise
    except tabular.UNREADABLE as error:
        raise Refused.invalid(
            "invalid_parquet", f"The Parquet file cannot be read: {str(error)[:500]}"
        ) from error


def _choose(schema: pa.Schema, split: SplitName | None, collector: Collector) -> tabular.Chosen:
    if len(schema) > collector.limits.max_columns:
        raise Refused.too_large("too_many_columns", f"The file has {len(schema)} columns.")
    return tabular.choose(
        schema.names,
        lambda name: columns.is_number(schema.field(name).type),
        collector.spec,
        split,
    )


def _check_decoded_size(groups: Sequence[Group], names: Sequence[str], limits: Limits) -> None:
    chunks = [chunk for group in groups for chunk in group.chunks if chunk.belongs_to(names)]
    limits.check_bytes(sum(chunk.decompressed for chunk in chunks))
    # Four bytes each at the least: a run of a million equal values takes three in the file.
    limits.check_bytes(sum(chunk.values * 4 for chunk in chunks if not chunk.is_bytes))


def _add_batches(
    file: pq.ParquetFile,
    groups: Sequence[Group],
    chosen: tabular.Chosen,
    split: SplitName | None,
    collector: Collector,
) -> None:
    first_row = 0
    for place, group in enumerate(groups):
        for batch in file.iter_batches(
            _batch_rows(group, chosen.names),
            row_groups=[place],
            columns=chosen.names,
            use_threads=False,
        ):
            found = dict(zip(batch.schema.names, batch.columns, strict=True))
            tabular.add(found, chosen, split, first_row, collector)
            first_row += batch.num_rows


def _batch_rows(group: Group, names: Sequence[str]) -> int:
    """As many rows as decode to BATCH_BYTES at worst.

    A dictionary repeats one value in every row for a bit each, and shared prefixes do the like, so
    the worst value of a column of bytes is all of its largest page.
    """
    widest = NUMBER_BYTES
    for chunk in group.chunks:
        if chunk.belongs_to(names):
            average = -(-chunk.values // max(1, group.rows)) * NUMBER_BYTES
            widest = max(widest, chunk.largest_page if chunk.is_bytes else average)
    return max(1, min(BATCH_ROWS, BATCH_BYTES // widest))
