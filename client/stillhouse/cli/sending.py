"""Local files on their way to the service, with a bar; .pt checkpoints are converted before."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stillhouse import Stillhouse, convert, models
from stillhouse.cli import output
from stillhouse.cli.failures import Mistaken
from stillhouse.localfiles import sha256_of


@contextmanager
def checkpoint(path: Path, rename: Mapping[str, str] | None = None) -> Iterator[Path]:
    """The safetensors file to send for a checkpoint: itself, or what it is converted to."""
    readable(path)
    is_pt = path.suffix in convert.SUFFIXES
    if not is_pt and not rename:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="stillhouse-") as folder:
        to = Path(folder) / f"{path.stem}.safetensors"
        if not is_pt:
            convert.with_other_names(path, to, rename or {})
            yield to
            return
        made = convert.to_safetensors(path, to, rename)
        note = f"converted {path} to safetensors: {made.tensors} tensors"
        if made.left_out:
            note += f", without {', '.join(made.left_out[:5])}"
        output.aside().print(note)
        yield made.path


def send(still: Stillhouse, path: Path) -> models.FileOut:
    with output.transfer(path.name) as bar:
        task = bar.add_task("", total=path.stat().st_size)
        return still.files.upload(
            path, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )


def sha256(path: Path) -> str:
    readable(path)
    return sha256_of(path)


def readable(path: Path) -> None:
    """Raises Mistaken where no file can be read there."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise Mistaken(f"{path}: {error.strerror}.") from None
