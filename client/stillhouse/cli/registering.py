"""Teachers and data sets made of local files; what the service has already is used again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from fractions import Fraction
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


def teacher(
    still: Stillhouse,
    body: Mapping[str, Any],
    file: Path | None,
    rename: Mapping[str, str] | None = None,
) -> Teacher:
    """`body` is that of POST /teachers, but for `file`, whose tensors may be given other names.
    Waits until it has been checked."""
    with ExitStack() as stack:
        wanted = dict(body)
        if file is not None:
            path = stack.enter_context(sending.checkpoint(file, rename))
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


def preprocess(scale: str | None, mean: str | None, std: str | None) -> dict[str, Any] | None:
    """How a teacher's inputs were normalised, as the command line tells it. Raises Mistaken."""
    given = {"--scale": scale, "--mean": mean, "--std": std}
    if absent := [option for option, value in given.items() if value is None]:
        if len(absent) == len(given):
            return None
        raise Mistaken(f"--scale, --mean and --std go together: {' and '.join(absent)} is missing.")
    (factor, *more), means, stds = (_numbers(*one) for one in given.items())
    if more:
        raise Mistaken("--scale is one number, such as 1/255.")
    if len(means) != len(stds):
        raise Mistaken(f"--mean has {len(means)} values, --std {len(stds)}: give as many of each.")
    if min(stds) <= 0:
        raise Mistaken("--std divides: each of its values is above 0.")
    return {"scale": factor, "mean": means, "std": stds}


def _numbers(option: str, given: str | None) -> list[float]:
    """By commas; 1/255 is a number too. Raises Mistaken."""
    try:
        return [float(Fraction(one.strip())) for one in (given or "").split(",")]
    except (ValueError, ArithmeticError):
        raise Mistaken(
            f"{option} is numbers by commas, such as 0.5 or 1/255, not {given!r}."
        ) from None


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
