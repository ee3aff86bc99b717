"""npz: a ZIP of npy arrays, opened without numpy's loader, so never with pickle."""

import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, NoReturn

import numpy as np

from app.spec.dataset import SPLITS, SplitName
from app.spec.problems import Refused
from workers.data.archive import check_member, opened
from workers.data.collect import Collector
from workers.data.labels import Codes
from workers.data.raw import Array, Limits, Rows, one_of_outputs

MAX_MEMBERS = 1000
MAX_DIRECTORY_BYTES = 4 * 2**20
MAX_NPY_HEADER = 64 * 1024
MAX_RANK = 32
# Not ast.literal_eval, which numpy uses: it can be made to exhaust the parser's stack.
DESCR = re.compile(r"""['"]descr['"]\s*:\s*['"]([^'"]*)['"]""")
FORTRAN = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([\d\s,]*)\)""")
DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|U[1-9]\d{0,3})")


def read_npz(path: Path, split: SplitName | None, collector: Collector) -> None:
    """Adds the arrays `x, y` or `x_<split>, y_<split>`, and `teacher_logits[_<split>]`.

    `split` is the split that the file was named for, or None for a file with everything. Raises
    Refused: 413 for a bomb or a claim beyond the limits, before anything is allocated, and 422.
    """
    with opened(path, directory_bytes=MAX_DIRECTORY_BYTES, code="invalid_npz") as archive:
        members = _members(archive, collector.limits)
        for target, suffix in _wanted(members, split):
            collector.add(target, _rows(archive, members, suffix, target, collector))


@dataclass(frozen=True)
class _Npy:
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    header_bytes: int

    @property
    def data_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _members(archive: zipfile.ZipFile, limits: Limits) -> dict[str, zipfile.ZipInfo]:
    """By name without `.npy`."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise Refused.too_large("too_many_members", f"Over {MAX_MEMBERS} members.")
    limits.check_bytes(sum(info.file_size for info in infos))
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        check_member(info)
        name = info.filename.removesuffix(".npy")
        if name in members:
            _refuse("duplicate_member", f"The archive holds {name!r} twice.")
        members[name] = info
    return members


def _wanted(
    members: dict[str, zipfile.ZipInfo], split: SplitName | None
) -> list[tuple[SplitName, str]]:
    """Which splits to read, each with the suffix of its arrays' names."""
    if split is not None:
        suffixes = [f"_{split}"] if f"x_{split}" in members else [""]
        found: list[tuple[SplitName, str]] = [(split, suffix) for suffix in suffixes]
    elif "x" in members:
        found = [("train", "")]
    else:
        found = [(name, f"_{name}") for name in SPLITS if f"x_{name}" in members]
    if not found or f"x{found[0][1]}" not in members:
        _refuse_missing("x_train" if split is None else "x", members)
    return found


def _rows(
    archive: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    suffix: str,
    split: SplitName,
    collector: Collector,
) -> Rows:
    limits, names = collector.limits, (f"x{suffix}",)
    x = _array(archive, members[f"x{suffix}"], limits)
    if not len(x):
        _refuse("no_rows", f"The {split} split is empty.")
    limits.check_rows(len(x))
    labels = None
    if collector.spec.label is not None:
        if f"y{suffix}" not in members:
            _refuse_missing(f"y{suffix}", members)
        labels = _labels(_array(archive, members[f"y{suffix}"], limits), collector)
    if suffix and one_of_outputs(members):
        _refuse_missing(f"teacher_{one_of_outputs(members)}{suffix}", members)
    outputs = one_of_outputs(
        [name.removesuffix(suffix) for name in members if name.endswith(suffix)]
    )
    if outputs is None:
        return Rows(x, labels, columns=names)
    info = members[f"teacher_{outputs}{suffix}"]
    return Rows(x, labels, _array(archive, info, limits), outputs, names)


def _labels(y: Array, collector: Collector) -> Codes:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype.kind != "U" or y.ndim != 1:
        return collector.labels.numbers(y)
    values, places = np.unique(y, return_inverse=True)
    return collector.labels.words(values.tolist(), places)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits) -> Array:
    with archive.open(info) as file:
        npy = _npy_header(file, info.filename)
        limits.check_bytes(npy.data_bytes)
        # Before any memory is taken: what the header claims is what the archive holds.
        if npy.header_bytes + npy.data_bytes != info.file_size:
            _refuse("invalid_npy", f"{info.filename!r} does not hold as many bytes as it claims.")
        buffer = np.empty(npy.data_bytes, np.uint8)
        view, filled = buffer.data, 0
        while filled < npy.data_bytes:
            block = file.read(min(2**20, npy.data_bytes - filled))
            if not block:
                _refuse("invalid_npy", f"{info.filename!r} ends early.")
            view[filled : filled + len(block)] = block
            filled += len(block)
    # Bytes in the other order are turned here, once, so that nothing later has to care.
    array = buffer.view(npy.dtype).astype(npy.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(array.reshape(npy.shape, order=npy.order))


def _npy_header(file: IO[bytes], name: str) -> _Npy:
    """Raises Refused 422: `invalid_npy`, `object_dtype` or `unsupported_dtype`."""
    magic = file.read(8)
    if not magic.startswith(b"\x93NUMPY") or len(magic) < 8 or magic[6] not in (1, 2, 3):
        _refuse("invalid_npy", f"{name!r} is not an npy array.")
    length_bytes = 2 if magic[6] == 1 else 4
    length = int.from_bytes(file.read(length_bytes), "little")
    text = file.read(length).decode("latin-1") if length <= MAX_NPY_HEADER else ""
    descr, fortran, shape = (rule.findall(text) for rule in (DESCR, FORTRAN, SHAPE))
    if len(fortran) != 1 or len(shape) != 1 or len(descr) > 1:
        _refuse("invalid_npy", f"{name!r} has a header that cannot be read.")
    if descr and "O" in descr[0]:
        _refuse(
            "object_dtype",
            f"{name!r} holds Python objects, which only unpickling could read.",
            "Convert it to a numeric dtype before saving.",
        )
    # Structured dtypes are a list, so they leave no descr.
    if not descr or not DTYPE.fullmatch(descr[0]):
        _refuse("unsupported_dtype", f"{name!r} is neither numbers of up to 64 bits nor text.")
    # Twenty digits are beyond any limit; int() would choke on five thousand.
    extents = tuple(int(extent[:20]) for extent in re.findall(r"\d+", shape[0]))
    if len(extents) > MAX_RANK:
        _refuse("invalid_npy", f"{name!r} has {len(extents)} dimensions.")
    order: Literal["C", "F"] = "F" if fortran[0] == "True" else "C"
    return _Npy(np.dtype(descr[0]), extents, order, len(magic) + length_bytes + length)


def _refuse_missing(name: str, members: dict[str, zipfile.ZipInfo]) -> NoReturn:
    hint = f"The archive holds: {', '.join(sorted(members)[:50]) or 'nothing'}."
    if name.startswith("y"):
        hint += ' Set "label" to null for an unlabelled transfer set.'
    _refuse("missing_array", f"There is no array {name!r}.", hint)


def _refuse(code: str, detail: str, hint: str | None = None) -> NoReturn:
    raise Refused.invalid(code, detail, hint)
