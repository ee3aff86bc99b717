"""Whole curves as CSV or Parquet, in pieces: nobody's memory or transaction grows with them."""

import csv
import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from app.db import Database
from app.metrics import repository
from app.metrics.repository import Curve
from app.metrics.rollups import Row

PIECE = 20_000

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("time", pa.float64()),
        ("value", pa.float64()),
    ]
)


def as_csv(database: Database, curves: Sequence[Curve]) -> Iterator[bytes]:
    """Rows key, step, epoch, time, value; an empty value was not finite."""
    yield ",".join(SCHEMA.names).encode() + b"\r\n"
    for key, rows in _pieces(database, curves):
        text = io.StringIO()
        csv.writer(text).writerows((key, *row) for row in rows)
        yield text.getvalue().encode()


def as_parquet(database: Database, curves: Sequence[Curve]) -> Iterator[bytes]:
    """One row group a piece."""
    sink = _Sink()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
        for key, rows in _pieces(database, curves):
            columns = [[key] * len(rows), *zip(*rows, strict=True)]
            writer.write_table(pa.table(columns, schema=SCHEMA))
            yield sink.take()
    yield sink.take()


def _pieces(database: Database, curves: Sequence[Curve]) -> Iterator[tuple[str, list[Row]]]:
    """A transaction each, so that a slow reader holds none."""
    for curve in curves:
        last: int | None = None
        while True:
            with database.reading() as session:
                rows = repository.rows_of(session, curve.id, after_step=last, limit=PIECE)
            if rows:
                yield curve.key, rows
            if len(rows) < PIECE:
                break
            last = rows[-1].step


class _Sink(io.RawIOBase):
    """Keeps what the writer writes until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        self._size += len(data)
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken
