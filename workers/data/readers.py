"""A client's files to arrays: the one door, whatever the format."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.spec.dataset import SPLITS, BuiltinSource, DatasetSpec, Format, SplitName
from app.spec.problems import Refused
from app.spec.sniff import SNIFF_BYTES, sniff_dataset
from workers.data import builtin
from workers.data.collect import Collector
from workers.data.image_folder import read_image_folder
from workers.data.npz import read_npz
from workers.data.parquet import read_parquet
from workers.data.raw import Limits, Raw
from workers.data.text_tables import read_csv, read_jsonl

Files = Mapping[SplitName, Sequence[Path]] | Path
"""One file with everything, or the files of each split."""

READERS: dict[Format, Callable[[Path, SplitName | None, Collector], None]] = {
    "npz": read_npz,
    "parquet": read_parquet,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "images": read_image_folder,
}


def read(files: Files | None, spec: DatasetSpec, limits: Limits | None = None) -> Raw:
    """Reads what `spec.source` names; `files` are its bytes, None for a builtin.

    Raises Refused: 413 past a limit, 415 for a format that is not read, 422 for bad content.
    """
    limits = limits or Limits()
    if isinstance(spec.source, BuiltinSource):
        return builtin.digits(spec, limits)
    collector = Collector(spec, limits)
    try:
        for split, path, name in _listed(files):
            try:
                READERS[spec.source.format or _format(path)](path, split, collector)
            except Refused as refused:
                raise refused.inside(name) from refused
        return collector.finish()
    except MemoryError as error:
        raise Refused.too_large("dataset_too_large", "The data does not fit in memory.") from error


def _listed(files: Files | None) -> list[tuple[SplitName | None, Path, str]]:
    """The files, each with what a person calls it where there are several."""
    if isinstance(files, Path):
        return [(None, files, "")]
    found: list[tuple[SplitName | None, Path, str]] = [
        (split, path, f"file {number} of {split}")
        for split in SPLITS
        for number, path in enumerate((files or {}).get(split, ()), start=1)
    ]
    return found if len(found) > 1 else [(split, path, "") for split, path, _ in found]


def _format(path: Path) -> Format:
    with path.open("rb") as file:
        return sniff_dataset(file.read(SNIFF_BYTES))
