"""A prepared dataset: one safetensors file, written once, memory-mapped by every job.

Tensors are `<split>.x`, `<split>.y`, and `<split>.teacher_logits` or
`<split>.teacher_probabilities`. Images stay integers: what brings them to a network's input is
`DatasetFacts.preprocess`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from app.spec.dataset import SPLITS, SplitName
from workers.data.raw import Array

WRITE_ROWS_BYTES = 16 * 2**20
DTYPES = {"uint8": "U8", "uint16": "U16", "float32": "F32", "int64": "I64"}
# The probability that a teacher's 0.000 stands for: its logarithm must be finite.
SMALLEST_PROBABILITY = 1e-8


@dataclass(frozen=True)
class Rows:
    """Some rows of an array, in order, gathered only while they are written."""

    array: Array
    places: Array | None = None
    """Integers; None for all rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        count = len(self.array) if self.places is None else len(self.places)
        return (count, *self.array.shape[1:])

    def blocks(self) -> Iterator[Array]:
        """The rows in contiguous pieces of a few megabytes."""
        row_bytes = max(1, self.array[:1].nbytes)
        step = max(1, WRITE_ROWS_BYTES // row_bytes)
        for start in range(0, self.shape[0], step):
            rows = slice(start, start + step)
            block = self.array[rows] if self.places is None else self.array[self.places[rows]]
            yield np.ascontiguousarray(block)


@dataclass(frozen=True)
class Split:
    """x: (N, D) float32, or (N, H, W[, C]) uint8, uint16 or float32; y: (N,) int64;
    teacher_logits: (N, classes) float32, the logarithm where probabilities were given."""

    x: Tensor
    y: Tensor | None
    teacher_logits: Tensor | None


class Prepared:
    """An open prepared file. Opening maps it; a tensor's pages are read when they are touched."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self.names: tuple[SplitName, ...] = tuple(name for name in SPLITS if f"{name}.x" in tensors)

    @classmethod
    def open(cls, path: Path) -> "Prepared":
        with safe_open(path, framework="pt") as file:
            return cls({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118

    def split(self, name: str) -> Split:
        """Raises KeyError for a split that the dataset does not have."""
        logits = self._tensors.get(f"{name}.teacher_logits")
        probabilities = self._tensors.get(f"{name}.teacher_probabilities")
        if probabilities is not None:
            logits = torch.log(probabilities.clamp(min=SMALLEST_PROBABILITY))
        return Split(self._tensors[f"{name}.x"], self._tensors.get(f"{name}.y"), logits)


def write(path: Path, tensors: Mapping[str, Rows]) -> tuple[str, int]:
    """Writes the file, the same bytes for the same rows; returns its sha256 and its size.

    Nothing stands at `path` until all of it does.
    """
    # Widest items first, so that each tensor is aligned without padding between them.
    order = sorted(tensors, key=lambda name: (-tensors[name].array.itemsize, name))
    header: dict[str, Any] = {}
    end = 0
    for name in order:
        begin, shape = end, tensors[name].shape
        array = tensors[name].array
        end += int(np.prod(shape)) * array.itemsize
        header[name] = {
            "dtype": DTYPES[str(array.dtype)],
            "shape": shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        for block in _blocks(text, order, tensors):
            file.write(block)
            digest.update(block)
    part.replace(path)
    return digest.hexdigest(), 8 + len(text) + end


def _blocks(text: bytes, order: list[str], tensors: Mapping[str, Rows]) -> Iterator[memoryview]:
    yield memoryview(len(text).to_bytes(8, "little"))
    yield memoryview(text)
    for name in order:
        for block in tensors[name].blocks():
            yield block.data
