"""Thrift's compact protocol, read only: what Parquet writes its footer and page headers in."""

from dataclasses import dataclass
from typing import Any

Struct = dict[int, Any]
"""Field id to value; what a field means is the reader's business."""

MAX_DEPTH = 32
MAX_VARINT_BYTES = 10
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)


@dataclass
class Cursor:
    """A place in `data`. Every method raises ValueError for bytes that are not the protocol."""

    data: bytes
    at: int = 0
    depth: int = 0

    def struct(self) -> Struct:
        """A struct and all that is in it; structs nest as dicts, lists as lists."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ValueError("nested too deep")
        fields: Struct = {}
        field = 0
        while header := self._byte():
            kind, step = header & 0x0F, header >> 4
            field = field + step if step else self._integer()
            # In a field a boolean is its own type; in a list it takes a byte.
            fields[field] = kind == TRUE if kind in (TRUE, FALSE) else self._value(kind)
        self.depth -= 1
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (TRUE, FALSE, BYTE):
            return self._byte()
        if kind in (I16, I32, I64):
            return self._integer()
        if kind == DOUBLE:
            return self._bytes(8)
        if kind == BINARY:
            return self._bytes(self._varint())
        if kind in (LIST, SET):
            return self._list()
        if kind == MAP:
            return self._map()
        if kind == STRUCT:
            return self.struct()
        raise ValueError(f"type {kind}")

    def _list(self) -> list[Any]:
        header = self._byte()
        size, kind = header >> 4, header & 0x0F
        if size == 15:
            size = self._varint()
        self._claim(size)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ValueError("nested too deep")
        items = [self._value(kind) for _ in range(size)]
        self.depth -= 1
        return items

    def _map(self) -> list[tuple[Any, Any]]:
        size = self._varint()
        self._claim(size)
        kinds = self._byte() if size else 0
        return [(self._value(kinds >> 4), self._value(kinds & 0x0F)) for _ in range(size)]

    def _integer(self) -> int:
        """Zigzag: 0, -1, 1, -2 are 0, 1, 2, 3."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = 0
        for place in range(MAX_VARINT_BYTES):
            byte = self._byte()
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value
        raise ValueError("a number of over 64 bits")

    def _byte(self) -> int:
        self._claim(1)
        self.at += 1
        return self.data[self.at - 1]

    def _bytes(self, size: int) -> bytes:
        self._claim(size)
        self.at += size
        return self.data[self.at - size : self.at]

    def _claim(self, size: int) -> None:
        # An item takes at least a byte, so no list is built that the data could not fill.
        if size > len(self.data) - self.at:
            raise ValueError("cut off")
