"""Teachers and data sets made of local files; what the service has already is used again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from stillhouse import Dataset, Stillhouse, Teacher, models
from stillhouse.cli import output, sending
from stillhouse.cli.failures import Mistaken
from stillhouse.cli.jobfile import parsed

MOST_LOOKED_AT = 200
"""Teachers or data sets in which one's own is looked for, newest first."""
Files = Mapping[str, list[Path]]
"""By split; everything under `""` is one file without splits."""


def teacher(still: Stillhouse, body: Mapping[str, Any], file: Path | None) -> Teacher:
    """`body` is that of POST /teachers, but for `file`. Waits until it has been checked."""
    with ExitStack() as stack:
        wanted = dict(body)
        if file is not None:
            path = stack.enter_context(sending.checkpoint(file))
            same: dict[str, Any] = {"sha256": sending.sha256(path)}
        else:
            same = {"job": wanted["job"]}
        for known in islice(still.teachers.list(page_size=MOST_LOOKED_AT), MOST_LOOKED_AT):
            if known.state == "ready" and includes(known.model_dump(mode="json"), wanted | same):
                output.aside().print(f"teacher {known.id} is there already")
                return known
        if file is not None:
            wanted["file"] = sending.send(still, path).id
    made = still.teachers.create(**wanted)
    with output.busy(f"{made.id} is being checked"):
        return made.wait()


def dataset(still: Stillhouse, body: Mapping[str, Any], files: Files) -> Dataset:
    """`body` is that of POST /datasets, but for the files of its source."""
    wanted = {**body, "source": dict(body["source"])}
    hashes = {split: [sending.sha256(path) for path in paths] for split, paths in files.items()}
    if wanted["source"]["kind"] != "uri":  # what lies there may have changed
        for known in islice(still.datasets.list(page_size=MOST_LOOKED_AT), MOST_LOOKED_AT):
            same = known.state == "ready" and includes(known.spec, wanted)
            if same and _hashes(still, known) == hashes:
                output.aside().print(f"data set {known.id} is there already")
                return known
    sent = {
        split: [sending.send(still, path).id for path in paths] for split, paths in files.items()
    }
    if "" in sent:
        wanted["source"]["file"] = sent[""][0]
    elif sent:
        wanted["source"]["files"] = sent
    made = still.datasets.create(**wanted)
    with output.busy(f"{made.id} is being read"):
        return made.wait()


def weights(still: Stillhouse, path: Path) -> models.FileOut:
    """A checkpoint to start from."""
    with sending.checkpoint(path) as ready:
        return sending.send(still, ready)


def network(given: str | Mapping[str, Any], beside: Path) -> dict[str, Any]:
    """The fields of a teacher that tell its network: from JSON or YAML, or a file of it, such as
    the network.json of a student, which tells its preprocessing and class names too."""
    found = given
    if isinstance(given, str):
        text = given if "{" in given or ":" in given else _text(beside / Path(given).expanduser())
        found = parsed(text)
    if not isinstance(found, Mapping):
        raise Mistaken(f"{given}: a network has fields, such as {{family: mlp, inputs: 64}}.")
    told = {name: found[name] for name in ("preprocess", "class_names") if found.get(name)}
    # What comes in follows from the rest, and a checkpoint tells by itself how it is quantised.
    known = {"preprocess", "class_names", "input", "quantization"}
    rest = {name: it for name, it in found.items() if name not in known}
    return {"network": rest, **told}


def includes(whole: Any, part: Any) -> bool:
    """Whether all that `part` says is so in `whole`, which may say more."""
    if isinstance(part, Mapping):
        return isinstance(whole, Mapping) and all(
            name in whole and includes(whole[name], value) for name, value in part.items()
        )
    return bool(whole == part)


def _hashes(still: Stillhouse, known: Dataset) -> dict[str, list[str]]:
    source = known.spec["source"]
    ids = {"": [source["file"]]} if source.get("file") else dict(source.get("files") or {})
    return {
        split: [still.files.get(file).sha256 for file in files]
        for split, files in ids.items()
        if files
    }


def _text(path: Path) -> str:
    sending.readable(path)
    try:
        return path.read_text()
    except UnicodeDecodeError:
        raise Mistaken(f"{path}: this is no text file.") from None
