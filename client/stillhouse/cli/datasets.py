"""stillhouse datasets ..."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillhouse.cli.options import All, Json, Limit, Quiet

if TYPE_CHECKING:
    import stillhouse

app = typer.Typer(no_args_is_help=True, help="What is learned from.")

DatasetRef = Annotated[str, typer.Argument(metavar="DATASET", help="A data set's id or name.")]
Split = Annotated[list[Path] | None, typer.Option(help="Files of this split; again for more.")]


@app.command()
def add(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="npz, Parquet, CSV, JSONL or a ZIP of folders of images, with everything in it."
        ),
    ] = None,
    train: Split = None,
    validation: Split = None,
    test: Split = None,
    builtin: Annotated[
        str | None, typer.Option(help="One that the service brings, such as digits.")
    ] = None,
    uri: Annotated[str | None, typer.Option(help="One that the service may fetch itself.")] = None,
    name: Annotated[str | None, typer.Option(help="By default that of the file.")] = None,
    features: Annotated[
        str | None, typer.Option(help="A column of images or lists, or several by commas.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The column of labels.")] = None,
    unlabelled: Annotated[bool, typer.Option("--unlabelled", help="Leave labels unread.")] = False,
    normalize: Annotated[str | None, typer.Option(help="auto or none.")] = None,
    class_names: Annotated[str | None, typer.Option(help="By commas, in order.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Register a data set, and wait until the service has read it."""
    from stillhouse.cli import output, registering
    from stillhouse.cli.failures import Mistaken
    from stillhouse.cli.session import connected

    splits = {"train": train, "validation": validation, "test": test}
    files = {split: list(paths) for split, paths in splits.items() if paths}
    if file is not None:
        files[""] = [file]
    if sum([file is not None, bool(train), builtin is not None, uri is not None]) != 1 or (
        len(files) > 1 and "" in files
    ):
        raise Mistaken(
            "Give one of: a file, --train (with --validation, --test), --builtin, --uri."
        )
    source: dict[str, Any] = {"kind": "file"}
    if builtin is not None:
        source = {"kind": "builtin", "name": builtin}
    elif uri is not None:
        source = {"kind": "uri", "uri": uri}
    first = next((path.stem for paths in files.values() for path in paths), builtin)
    body: dict[str, Any] = {"source": source, "name": name or first or Path(uri or "data").stem}
    if features:
        names = features.split(",")
        body["features"] = names if len(names) > 1 else names[0]
    if label is not None or unlabelled:
        body["label"] = None if unlabelled else label
    if normalize is not None:
        body["normalize"] = normalize
    if class_names:
        body["class_names"] = class_names.split(",")
    with connected() as still:
        made = registering.dataset(still, body, files)
    if quiet:
        typer.echo(made.id)
    elif json:
        output.emit(made)
    else:
        _show(made)


@app.command("list")
def list_(limit: Limit = 20, everything: All = False, json: Json = False) -> None:
    """List data sets, newest first."""
    from stillhouse.cli import output
    from stillhouse.cli.session import connected

    with connected() as still:
        found = output.newest(still.datasets.list, limit, everything)
    if json:
        output.emit(found)
        return
    output.table(
        ["id", "name", "state", ">train", ">test", ">classes", "shape", "created"],
        [
            (
                one.id,
                one.name,
                output.Marked(output.state(one.state)),
                (one.rows or {}).get("train"),
                (one.rows or {}).get("test"),
                one.classes,
                " x ".join(map(str, one.feature_shape or ())),
                output.when(one.created_at),
            )
            for one in found
        ],
    )


@app.command()
def show(dataset: DatasetRef, json: Json = False) -> None:
    """Show a data set."""
    from stillhouse.cli import output
    from stillhouse.cli.session import connected, dataset_of

    with connected() as still:
        found = dataset_of(still, dataset)
    if json:
        output.emit(found)
    else:
        _show(found)


@app.command()
def rm(
    datasets: Annotated[list[str], typer.Argument(metavar="DATASET...")], json: Json = False
) -> None:
    """Delete data sets."""
    from stillhouse.cli import output
    from stillhouse.cli.session import connected, dataset_of

    with connected() as still:
        for named in datasets:
            dataset = dataset_of(still, named)
            dataset.delete()
            output.deleted(dataset.id, as_json=json)


def _show(dataset: "stillhouse.Dataset") -> None:
    from stillhouse.cli import output

    output.fields(
        {
            "id": dataset.id,
            "name": dataset.name,
            "state": output.Marked(output.state(dataset.state)),
            "error": (dataset.error or {}).get("detail"),
            "source": dataset.spec.get("source"),
            "rows": ", ".join(
                f"{count:,} {split}" for split, count in (dataset.rows or {}).items()
            ),
            "cut here": ", ".join(dataset.cut or ()) or None,
            "classes": dataset.classes,
            "class names": ", ".join(dataset.class_names or ()) or None,
            "shape": " x ".join(map(str, dataset.feature_shape or ())) or None,
            "teacher outputs": dataset.teacher_outputs,
            "size": output.size(dataset.bytes) or None,
            "sha256": dataset.sha256,
        }
    )
