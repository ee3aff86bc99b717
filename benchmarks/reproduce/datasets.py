"""The data sets of the runs, prepared once and kept."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from app.spec.dataset import SPLITS, DatasetFacts, DatasetSpec
from app.spec.jobfile import PreparedFile
from workers.data.inspect import inspect_dataset
from workers.data.readers import Files

DATA = Path(os.environ.get("STILLHOUSE_DATA", "../shared/data"))
ROWS = {"train": 50_000, "test": 10_000}


@dataclass(frozen=True)
class Source:
    """A data set before it is prepared."""

    spec: dict[str, Any]
    files: Callable[[Path], Files | None]
    """Given a folder for what must be written first."""


def source(name: str) -> Source:
    """By name: mnist, mnist-raw, mnist-raw-all, digits, cifar100, or cifar100@s, the first s of
    each split."""
    base, _, scale = name.partition("@")
    match base:
        case "mnist":  # 50,000 + 10,000 for whatever is chosen
            return Source(_from_file("mnist", validation=1 / 6), _mnist)
        case "mnist-raw":  # pixels from 0 to 1 as they are
            return Source(_from_file("mnist-raw", validation=1 / 6, normalize="none"), _mnist)
        case "mnist-raw-all":  # all 60,000
            return Source(_from_file("mnist-raw-all", validation=0.0, normalize="none"), _mnist)
        case "digits":
            return Source(
                {"name": "digits", "source": {"kind": "builtin", "name": "digits"}}, lambda _: None
            )
        case "cifar100":
            spec = {
                "name": name,
                "source": {"kind": "file", "files": {"train": ["file_0"], "test": ["file_1"]}},
                "splits": {"validation": 0.0},
                "class_names": [str(c) for c in range(100)],  # a part may lack a class
            }
            return Source(spec, lambda folder: _cifar(folder, float(scale or 1)))
    raise KeyError(name)


def prepared(name: str, home: Path) -> PreparedFile:
    """The data set `name` under `home`. Raises FileNotFoundError where its files are absent."""
    folder = home / "data" / name
    path, facts_path = folder / "dataset.safetensors", folder / "facts.json"
    if not facts_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        found = source(name)
        facts = inspect_dataset(found.files(folder), DatasetSpec.model_validate(found.spec), path)
        facts_path.write_text(facts.model_dump_json())
    return PreparedFile(file=path, facts=DatasetFacts.model_validate_json(facts_path.read_bytes()))


def _from_file(name: str, *, validation: float, normalize: str = "auto") -> dict[str, Any]:
    return {
        "name": name,
        "source": {"kind": "file", "file": "file_0"},
        "splits": {"validation": validation},
        "normalize": normalize,
    }


def _mnist(_folder: Path) -> Path:
    return DATA / "mnist/mnist.npz"


def _cifar(folder: Path, scale: float) -> Files:
    """The Parquet files, or the first rows of them."""
    files = {split: sorted((DATA / "cifar100").glob(f"{split}*.parquet")) for split in SPLITS}
    if scale == 1:
        return files
    for split, rows in ROWS.items():
        part = folder / f"{split}.parquet"
        pq.write_table(pq.read_table(files[split]).slice(0, round(rows * scale)), part)
        files[split] = [part]
    return files
