"""Our own reading of a safetensors header, before any loader sees the file.

A file is the header's length in eight bytes, little-endian, the header, JSON, and the tensors'
bytes. The format's own loader lets pass duplicate keys, `../` in names, shapes such as [0, 2^62]
and any number of tensors. Here each of these is refused, and every byte of the file is accounted
for.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from app.spec.problems import Refused
from app.spec.sniff import MAX_SAFETENSORS_HEADER

MAX_TENSORS = 20_000
MAX_NAME = 512
MAX_RANK = 16
# Far above any tensor that exists, far below where a product leaves 64 bits.
MAX_ELEMENTS = 2**48
CHECK_BLOCK_BYTES = 16 * 2**20

FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
ITEM_BYTES = {**FLOAT_BYTES, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "BOOL": 1}
NUMPY_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
# BF16 is the upper half of a float32: all exponent bits set is infinity or NaN.
BF16_EXPONENT = 0x7F80


@dataclass(frozen=True)
class TensorInfo:
    """`begin` and `end` count bytes from the end of the header, as the file itself does."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """`data_start` is where in the file the tensors begin."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    data_start: int


def read_header(path: Path) -> Header:
    """Reads and checks the header; touches no tensor.

    Raises Refused: 413 for over 8 MiB of header or over 20,000 tensors, else 422
    `invalid_safetensors` (the layout), `zip_polyglot`, `unsafe_tensor_name`,
    `unsupported_dtype` or `invalid_shape`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = _header_length(file, size)
        text = file.read(length)
        _refuse_zip(file, size)
    entries = _parse(text)
    metadata = _metadata(entries.pop("__metadata__", {}))
    if len(entries) > MAX_TENSORS:
        raise Refused.too_large("too_many_tensors", f"The file has {len(entries)} tensors.")
    tensors = {name: _tensor(name, entry) for name, entry in entries.items()}
    _check_layout(tensors, size, 8 + length)
    return Header(tensors, metadata, data_start=8 + length)


def check_finite(path: Path, header: Header) -> None:
    """Streams over every tensor in blocks, memory flat.

    Raises Refused 422: `non_finite_weights`, or `invalid_bool` for a boolean that is neither.
    """
    for name, tensor in header.tensors.items():
        for block in _blocks(path, header, tensor):
            if not _is_finite(block, tensor.dtype):
                raise Refused.invalid(
                    "non_finite_weights", f"Tensor {name!r} holds NaN or infinite values."
                )
            if tensor.dtype == "BOOL" and block.max() > 1:
                raise Refused.invalid("invalid_bool", f"Tensor {name!r} holds bytes over 1.")


def check_positive(path: Path, header: Header, name: str) -> None:
    """Raises Refused 422 `invalid_scale` unless each number of an F32 tensor is above 0, and has a
    reciprocal."""
    for block in _blocks(path, header, header.tensors[name]):
        if not (block.view("<f4") >= np.finfo(np.float32).tiny).all():
            raise Refused.invalid(
                "invalid_scale", f"Tensor {name!r} holds scales that are not above 0."
            )


def _header_length(file: BinaryIO, size: int) -> int:
    prefix = file.read(9)
    if prefix.startswith(b"PK"):
        _refuse("This is a ZIP archive, not safetensors.", "zip_polyglot")
    if len(prefix) < 8:
        _refuse(f"A safetensors file has at least 8 bytes; this one has {size}.")
    length = int.from_bytes(prefix[:8], "little")
    if length > size - 8:
        _refuse(
            f"The header claims {length:,} bytes of a file of {size:,}: this is not safetensors, "
            "or it was cut off."
        )
    if length > MAX_SAFETENSORS_HEADER:
        raise Refused.too_large(
            "header_too_large",
            f"The header has {length} bytes, more than {MAX_SAFETENSORS_HEADER}.",
        )
    if prefix[8:] != b"{":
        _refuse("The header is not a JSON object.")
    file.seek(8)
    return length


def _refuse_zip(file: BinaryIO, size: int) -> None:
    """A ZIP is found from its end, so a file can be both: another reader would unpickle it."""
    tail_start = max(0, size - 65_535 - 22)
    file.seek(tail_start)
    tail = file.read()
    at = tail.find(b"PK\x05\x06")
    while at >= 0:
        record = tail[at : at + 22]
        comment = int.from_bytes(record[20:22], "little")
        # Weights can spell four bytes by chance; the record's own arithmetic they cannot.
        if record[8:10] == record[10:12] and 22 + comment <= len(tail) - at:
            _refuse("The file is a ZIP archive at the same time.", "zip_polyglot")
        at = tail.find(b"PK\x05\x06", at + 1)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(
            text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise Refused.invalid(
            "invalid_safetensors", "The header is not JSON that can be read."
        ) from error
    if not isinstance(entries, dict):
        _refuse("The header is not a JSON object.")
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("The header names something twice.", "duplicate_key")
    return found


def _no_constant(constant: str) -> NoReturn:
    _refuse(f"The header holds {constant}, which is not JSON.")


def _metadata(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        _refuse("__metadata__ must map text to text.")
    for text in (*found, *found.values()):
        if not _is_unicode(text):
            _refuse("__metadata__ holds text that is not Unicode.")
    return dict(found)


def _tensor(name: str, entry: Any) -> TensorInfo:
    if (
        not name
        or len(name) > MAX_NAME
        or not name.isprintable()
        or not _is_unicode(name)
        or ".." in name
        or "\\" in name
        or name.startswith("/")
    ):
        _refuse(f"{name[:MAX_NAME]!a} is not a tensor's name.", "unsafe_tensor_name")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        _refuse(f"Tensor {name!r} must have dtype, shape and data_offsets, and nothing else.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        _refuse(
            f"Tensor {name!r} has a dtype that is not one of {', '.join(ITEM_BYTES)}.",
            "unsupported_dtype",
        )
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        _refuse(f"Tensor {name!r} has offsets that are not a range.")
    if not _are_counts(shape) or len(shape) > MAX_RANK:
        _refuse(f"Tensor {name!r} has a shape that is not one.", "invalid_shape")
    # Zeros are left out: zero times huge is a small product of absurd factors.
    if math.prod(extent for extent in shape if extent) > MAX_ELEMENTS:
        _refuse(f"Tensor {name!r} has a shape that is too large.", "invalid_shape")
    if math.prod(shape) * ITEM_BYTES[dtype] != offsets[1] - offsets[0]:
        _refuse(f"Tensor {name!r} has a shape that does not fit its bytes.", "invalid_shape")
    return TensorInfo(dtype, tuple(shape), *offsets)


def _check_layout(tensors: dict[str, TensorInfo], size: int, data_start: int) -> None:
    """The tensors tile the bytes after the header: no overlap, no hole, nothing left over."""
    spans = sorted((tensor.begin, tensor.end) for tensor in tensors.values())
    data_bytes = size - data_start
    edges = [(0, 0), *spans, (data_bytes, data_bytes)]
    due = max((end for _, end in spans), default=0)
    if due > data_bytes:
        _refuse(
            f"The file looks cut off: by its header it has {data_start + due:,} bytes, and "
            f"{size:,} are there. Copy or download it again."
        )
    for (_, end), (begin, _) in pairwise(edges):
        if begin != end:
            _refuse("The tensors overlap, leave holes, or do not fill the file exactly.")


def _are_counts(found: Any) -> bool:
    # type() and not isinstance(): True is an int to Python.
    return isinstance(found, list) and all(type(item) is int and item >= 0 for item in found)


def _is_unicode(text: str) -> bool:
    """False for lone surrogates, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _blocks(path: Path, header: Header, tensor: TensorInfo) -> Iterator[np.ndarray]:
    """The tensor's bytes as a read-only uint8 memory map, a block at a time."""
    if tensor.begin == tensor.end:
        return
    data = np.memmap(
        path,
        np.uint8,
        "r",
        offset=header.data_start + tensor.begin,
        shape=(tensor.end - tensor.begin,),
    )
    for start in range(0, len(data), CHECK_BLOCK_BYTES):
        yield data[start : start + CHECK_BLOCK_BYTES]


def _is_finite(block: np.ndarray, dtype: str) -> bool:
    if dtype in NUMPY_FLOATS:
        return bool(np.isfinite(block.view(NUMPY_FLOATS[dtype])).all())
    if dtype == "BF16":
        return not bool(((block.view("<u2") & BF16_EXPONENT) == BF16_EXPONENT).any())
    return True


def _refuse(detail: str, code: str = "invalid_safetensors") -> NoReturn:
    raise Refused.invalid(code, detail)
