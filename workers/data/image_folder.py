"""A ZIP of a folder of images, `<split>/<class>/<name>` or `<class>/<name>`: each class a folder.

Members are read one by one and never written to disk, so that a path in the archive leads nowhere.
"""

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, NoReturn

import numpy as np

from app.spec.dataset import SPLITS, SplitName
from app.spec.problems import Refused
from workers.data import archive
from workers.data.collect import Collector
from workers.data.images import decode
from workers.data.raw import Limits, Rows

MAX_IMAGES = 200_000
MAX_DIRECTORY_BYTES = 32 * 2**20
MAX_ENCODED_BYTES = 64 * 2**20
"""Of one image."""
BATCH_IMAGES = 4096
BATCH_BYTES = 128 * 2**20

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
SPLIT_FOLDERS: Final[Mapping[str, SplitName]] = {
    **{split: split for split in SPLITS},
    "val": "validation",
    "valid": "validation",
}
LITTER = {"__MACOSX", "Thumbs.db", "desktop.ini"}
"""What systems leave in folders, beside all that begins with a dot."""
LAYOUT = "Images lie in <class>/ or <split>/<class>/, the splits being train, validation and test."


@dataclass(frozen=True)
class _Image:
    folders: tuple[str, ...]
    name: str
    info: zipfile.ZipInfo

    @property
    def path(self) -> str:
        return "/".join((*self.folders, self.name))


_Placed = tuple[tuple[SplitName, str], _Image]
"""An image, and before it its split and its label."""


def read_image_folder(path: Path, split: SplitName | None, collector: Collector) -> None:
    """Adds all images, in the order of their paths. The names of folders are their labels, unless
    the dataset is to have none.

    Raises Refused: 413 past a limit or for a bomb, 422 for paths that lead elsewhere, links, files
    that are no images, and a layout that is neither.
    """
    with archive.opened(path, directory_bytes=MAX_DIRECTORY_BYTES, code="invalid_zip") as file:
        images = _without_wrapper(_images(file, collector.limits), collector)
        placed = [(_place(image, split, collector), image) for image in images]
        placed.sort(key=lambda one: SPLITS.index(one[0][0]))
        row = 0
        for target, some in groupby(placed, key=lambda one: one[0][0]):
            for batch in _batches(some):
                collector.add(target, _rows(file, batch, row, collector))
                row += len(batch)


def _rows(
    file: zipfile.ZipFile, batch: Sequence[_Placed], first_row: int, collector: Collector
) -> Rows:
    encoded = []
    for _, image in batch:
        with file.open(image.info) as member:
            encoded.append(member.read(MAX_ENCODED_BYTES))
    names = [image.path for _, image in batch]
    pixels = decode(encoded, first_row, collector.limits, names)
    if collector.spec.label is None:
        return Rows(pixels)
    words, places = np.unique([label for (_, label), _ in batch], return_inverse=True)
    return Rows(pixels, collector.labels.words(words.tolist(), places))


def _images(file: zipfile.ZipFile, limits: Limits) -> list[_Image]:
    """Sorted, so that an archive made anew of the same folder is the same dataset."""
    infos = file.infolist()
    if len(infos) > MAX_IMAGES:
        raise Refused.too_large("too_many_members", f"Over {MAX_IMAGES:,} members.")
    limits.check_bytes(sum(info.file_size for info in infos))
    found: dict[tuple[str, ...], _Image] = {}
    for info in infos:
        archive.check_member(info)
        *folders, name = parts = tuple(info.filename.split("/"))
        if info.is_dir() or any(part.startswith(".") or part in LITTER for part in parts):
            continue
        if not name.lower().endswith(SUFFIXES):
            _refuse(
                "unexpected_member",
                f"{info.filename[:200]!r} is no PNG, JPEG or WebP.",
                "Leave out of the archive what is not to be read.",
            )
        if info.file_size > MAX_ENCODED_BYTES:
            raise Refused.too_large("image_too_large", f"{info.filename[:200]!r} is too large.")
        if parts in found:
            _refuse("duplicate_member", f"The archive holds {info.filename[:200]!r} twice.")
        found[parts] = _Image(tuple(folders), name, info)
    limits.check_rows(len(found))
    return [found[parts] for parts in sorted(found)]


def _without_wrapper(images: Sequence[_Image], collector: Collector) -> Sequence[_Image]:
    """Without a folder around everything, as archivers put it there."""
    depths = {len(image.folders) for image in images}
    labelled = collector.spec.label is not None
    if labelled and len(depths) > 1:
        _refuse("unexpected_layout", "Some images lie deeper in folders than others.")
    first = {image.folders[:1] for image in images}
    spare = min(depths, default=0) > (1 if labelled else 0)
    if spare and len(first) == 1 and first.isdisjoint((name,) for name in SPLIT_FOLDERS):
        return [_Image(image.folders[1:], image.name, image.info) for image in images]
    return images


def _place(image: _Image, split: SplitName | None, collector: Collector) -> tuple[SplitName, str]:
    """The split that an image belongs to, and its label, which may not be wanted."""
    folders = image.folders
    named = SPLIT_FOLDERS.get(folders[0]) if folders else None
    if collector.spec.label is None:
        return split or named or "train", ""
    if len(folders) == 1:
        return split or "train", folders[0]
    if len(folders) != 2 or named is None or split is not None:
        _refuse("unexpected_layout", f"{image.path[:200]!r} does not tell its class.")
    return named, folders[1]


def _batches(placed: Iterable[_Placed]) -> Iterator[list[_Placed]]:
    batch: list[_Placed] = []
    size = 0
    for one in placed:
        more = one[1].info.file_size
        if batch and (len(batch) >= BATCH_IMAGES or size + more > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += more
    yield batch


def _refuse(code: str, detail: str, hint: str = LAYOUT) -> NoReturn:
    raise Refused.invalid(code, detail, hint)
