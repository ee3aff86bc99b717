"""What a Parquet file decodes to, from its page headers, before Arrow opens it.

Footers may lie about sizes, and Arrow's own accessors of a column's metadata abort the process on
damaged bytes (pyarrow 26). So footer and page headers are walked here; no page is decoded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.spec.problems import Refused
from workers.data.thrift import Cursor, Struct

MAX_FOOTER_BYTES = 16 * 2**20
MAX_PAGES = 1_000_000
# Most page headers are a few dozen bytes; statistics can make one long.
HEADER_BYTES = (512, 64 * 1024, 4 * 2**20)
BYTE_ARRAYS = {6, 7}


@dataclass(frozen=True)
class Chunk:
    """One column of one row group, as its pages are."""

    column: tuple[str, ...]
    """The path in the schema."""
    is_bytes: bool
    values: int
    decompressed: int
    largest_page: int

    def belongs_to(self, names: Sequence[str]) -> bool:
        """Whether it is part of one of these columns; a dot may be a path or part of a name."""
        path = ".".join(self.column)
        return any(f"{path}.".startswith(f"{name}.") for name in names)


@dataclass(frozen=True)
class Group:
    """A row group."""

    rows: int
    chunks: tuple[Chunk, ...]


def walk(path: Path) -> tuple[Group, ...]:
    """The row groups of a file.

    Raises Refused: 413 for a footer of over 16 MiB or over a million pages, 422 `invalid_parquet`.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        try:
            pages = iter(range(MAX_PAGES))
            return tuple(
                Group(
                    _count(group[3]),
                    tuple(_chunk(file, size, column, pages) for column in group[1]),
                )
                for group in _footer(file, size)[4]
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _invalid() from error


def _footer(file: BinaryIO, size: int) -> Struct:
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or size < 12:
        raise Refused.invalid("invalid_parquet", "The file does not end as a Parquet file does.")
    if length > MAX_FOOTER_BYTES:
        raise Refused.too_large("footer_too_large", f"The footer is over {MAX_FOOTER_BYTES} bytes.")
    if length > size - 12:
        raise _invalid()
    file.seek(size - 8 - length)
    return Cursor(file.read(length)).struct()


def _chunk(file: BinaryIO, size: int, column: Struct, pages: Iterator[int]) -> Chunk:
    if 1 in column:
        raise Refused.invalid("invalid_parquet", "A column lies in another file.")
    meta = column[3]
    # The dictionary, where there is one, comes before the data.
    start = min(_count(meta[9]), _count(meta.get(11, meta[9])) or _count(meta[9]))
    end = start + _count(meta[7])
    if end > size:
        raise _invalid()
    values = decompressed = largest = 0
    while start < end:
        if next(pages, None) is None:
            raise Refused.too_large("too_many_pages", f"Over {MAX_PAGES} pages.")
        header, header_bytes = _page_header(file, start)
        page = _count(header[2])
        # Data pages of version 1 or 2; a dictionary page has no rows.
        data: Struct = header.get(5) or header.get(8) or {}
        values += _count(data.get(1, 0))
        decompressed += page
        largest = max(largest, page)
        start += header_bytes + _count(header[3])
    path = tuple(name.decode("utf-8") for name in meta[3])
    return Chunk(path, meta[1] in BYTE_ARRAYS, values, decompressed, largest)


def _page_header(file: BinaryIO, start: int) -> tuple[Struct, int]:
    """The header and the bytes it takes."""
    for size in HEADER_BYTES:
        file.seek(start)
        cursor = Cursor(file.read(size))
        try:
            return cursor.struct(), cursor.at
        except ValueError:
            continue
    raise _invalid()


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a count")
    return value


def _invalid() -> Refused:
    return Refused.invalid("invalid_parquet", "The Parquet file's structure is damaged.")
