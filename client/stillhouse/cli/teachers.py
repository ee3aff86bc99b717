"""stillhouse teachers ..."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stillhouse.cli.options import All, Json, Limit, Quiet, pairs

if TYPE_CHECKING:
    import stillhouse

app = typer.Typer(no_args_is_help=True, help="Checkpoints that teach.")

TeacherRef = Annotated[str, typer.Argument(metavar="TEACHER", help="A teacher's id or name.")]


@app.command()
def add(
    file: Annotated[
        Path | None,
        typer.Argument(help="A safetensors file, or a .pt state dict, which is converted here."),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="Its network: JSON or YAML such as '{family: mlp, inputs: 64, hidden: [256]}', "
            "or a file of it, such as a student's network.json."
        ),
    ] = None,
    job: Annotated[
        str | None,
        typer.Option(help="Instead: the student of this job, by id or name, or of the `last` one."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="By default that of the file or job.")] = None,
    class_names: Annotated[
        str | None, typer.Option(help="By commas, in the order of its logits.")
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            help="Other names for the file's tensors, or for what they begin with, such as "
            "0.=layers.0. --rename 2.=layers.1. for an nn.Sequential; again for more.",
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="How the teacher's inputs were normalised: (x * scale - mean) / std of the stored "
            "values. Left out, the data set's own mean and std are used, which is right only for "
            "teachers that were trained so. Needs --mean and --std; such as 1/255."
        ),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="See --scale. One for all, or by commas one a channel.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="See --scale. As many as of --mean.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Register a teacher, and wait until the service has checked it."""
    from stillhouse.cli import output, registering
    from stillhouse.cli.failures import Mistaken
    from stillhouse.cli.session import connected, job_of

    if (file is None) == (job is None):
        raise Mistaken("Give a file with --network, or --job.")
    if file is not None and network is None:
        raise Mistaken(
            "A file of tensors does not tell its network: say it with --network "
            "'{family: mlp, inputs: 784, hidden: [1200, 1200]}'. `stillhouse networks` lists them."
        )
    body = registering.network(network, Path()) if network is not None else {}
    if class_names:
        body["class_names"] = class_names.split(",")
    if normalised := registering.preprocess(scale, mean, std):
        body["preprocess"] = normalised
    others = pairs(rename, "--rename", between="=")
    if others and file is None:
        raise Mistaken(
            "--rename is for the tensors of a file: the student of a job has them right."
        )
    with connected() as still:
        if job is not None:
            made_by = job_of(still, job)
            body |= {"job": made_by.id, "name": name or made_by.name}
        else:
            body["name"] = name or (file.stem if file else "")
        made = registering.teacher(still, body, file, others)
    if quiet:
        typer.echo(made.id)
    elif json:
        output.emit(made)
    else:
        _show(made)


@app.command("list")
def list_(limit: Limit = 20, everything: All = False, json: Json = False) -> None:
    """List teachers, newest first."""
    from stillhouse.cli import output
    from stillhouse.cli.session import connected

    with connected() as still:
        found = output.newest(still.teachers.list, limit, everything)
    if json:
        output.emit(found)
        return
    output.table(
        ["id", "name", "state", "network", ">parameters", "created"],
        [
            (
                one.id,
                one.name,
                output.Marked(output.state(one.state)),
                one.network.get("family"),
                f"{one.parameters:,}" if one.parameters is not None else "",
                output.when(one.created_at),
            )
            for one in found
        ],
    )


@app.command()
def show(teacher: TeacherRef, json: Json = False) -> None:
    """Show a teacher."""
    from stillhouse.cli import output
    from stillhouse.cli.session import connected, teacher_of

    with connected() as still:
        found = teacher_of(still, teacher)
    if json:
        output.emit(found)
    else:
        _show(found)


@app.command()
def report(
    teacher: TeacherRef,
    dataset: Annotated[
        str, typer.Option(help="The data set that it is asked about: its id or name.")
    ],
    parameters: Annotated[
        int | None, typer.Option(help="Of the student, for the advice on the temperature.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what a teacher knows: which classes are alike, how soft its targets are, which T to
    try."""
    from stillhouse.cli import output
    from stillhouse.cli.knowledge import show
    from stillhouse.cli.session import connected, dataset_of, teacher_of

    with connected() as still:
        found = teacher_of(still, teacher)
        told = found.report(dataset_of(still, dataset).id, parameters=parameters)
        with output.busy("A worker finds out what it knows ..."):
            told.wait()
    if json:
        output.emit(told)
    else:
        show(told)


@app.command()
def rm(
    teachers: Annotated[list[str], typer.Argument(metavar="TEACHER...")], json: Json = False
) -> None:
    """Delete teachers."""
    from stillhouse.cli import output
    from stillhouse.cli.session import connected, teacher_of

    with connected() as still:
        for named in teachers:
            teacher = teacher_of(still, named)
            teacher.delete()
            output.deleted(teacher.id, as_json=json)


def _show(teacher: "stillhouse.Teacher") -> None:
    from stillhouse.cli import output

    output.fields(
        {
            "id": teacher.id,
            "name": teacher.name,
            "state": output.Marked(output.state(teacher.state)),
            "error": (teacher.error or {}).get("detail"),
            "network": teacher.network,
            "parameters": f"{teacher.parameters:,}" if teacher.parameters is not None else None,
            "flops": f"{teacher.flops:,}" if teacher.flops is not None else None,
            "taps": ", ".join(teacher.taps or ()) or None,
            "class names": ", ".join(teacher.class_names or ()) or None,
            "job": teacher.job,
            "sha256": teacher.sha256,
        }
    )
