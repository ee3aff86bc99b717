"""stillhouse jobs ..."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillhouse.cli.options import All, JobRef, Json, Labels, Limit, Quiet, pairs

if TYPE_CHECKING:
    import stillhouse

app = typer.Typer(no_args_is_help=True, help="Trainings: submit, watch, steer.")

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Such as training.epochs=5; again for more."),
]


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="YAML or JSON; `stillhouse init` writes one.")],
    watch: Watch = False,
    set_: Set = None,
    label: Labels = None,
    name: Annotated[str | None, typer.Option(help="Instead of the one in the file.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and estimate; send and make nothing.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Submit a job. Local files that it names are sent first."""
    from stillhouse.cli import output, submitting
    from stillhouse.cli.session import connected

    with connected() as still:
        described = submitting.described(file, pairs(set_, "--set"), name, pairs(label, "--label"))
        if dry_run:
            submitting.dry_run(still, described, as_json=json)
            return
        job = submitting.submitted(still, described)
        if watch:
            if not json:
                output.aside().print(f"submitted {job.id}")
            _watched(job, as_json=json)
        if quiet:
            typer.echo(job.id)
        elif json and not watch:
            output.emit(job)
        elif not json:
            _show(job)


@app.command("list")
def list_(
    state: Annotated[list[str] | None, typer.Option(help="In this state; again for more.")] = None,
    label: Labels = None,
    limit: Limit = 20,
    everything: All = False,
    json: Json = False,
) -> None:
    """List jobs, newest first."""
    from functools import partial

    from stillhouse.cli import output
    from stillhouse.cli.session import connected

    with connected() as still:
        listed = partial(still.jobs.list, state=state or (), labels=pairs(label, "--label"))
        found = output.newest(listed, limit, everything)
    if json:
        output.emit(found)
        return
    output.table(
        ["id", "name", "state", ">done", "method", "created"],
        [
            (
                job.id,
                job.name,
                output.Marked(output.state(job.state)),
                f"{job.progress.get('fraction') or 0:.0%}",
                job.spec.get("method", {}).get("name"),
                output.when(job.created_at),
            )
            for job in found
        ],
    )


@app.command()
def show(job: JobRef, json: Json = False) -> None:
    """Show a job."""
    from stillhouse.cli import output
    from stillhouse.cli.session import connected, job_of

    with connected() as still:
        found = job_of(still, job)
        if json:
            output.emit(found)
        else:
            _show(found)


@app.command()
def watch(job: JobRef, json: Json = False) -> None:
    """Follow a job to its end. Ctrl-C ends the watching, not the job."""
    from stillhouse.cli.session import connected, job_of

    with connected() as still:
        found = job_of(still, job)
        _watched(found, as_json=json)
        if not json:
            _show(found)


@app.command()
def cancel(job: JobRef, json: Json = False) -> None:
    """Cancel a job; its last checkpoint stays."""
    _steer(job, "cancel", as_json=json)


@app.command()
def pause(job: JobRef, json: Json = False) -> None:
    """Pause a job after a checkpoint."""
    _steer(job, "pause", as_json=json)


@app.command()
def resume(job: JobRef, json: Json = False) -> None:
    """Go on with a paused job."""
    _steer(job, "resume", as_json=json)


@app.command()
def clone(
    job: JobRef,
    set_: Set = None,
    name: Annotated[str | None, typer.Option(help="Of the new job.")] = None,
    from_checkpoint: Annotated[
        str | None, typer.Option(help="Go on from it: best, last, or its name.")
    ] = None,
    watch: Watch = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Submit a job like another, with some fields changed."""
    from stillhouse.cli import output, submitting
    from stillhouse.cli.session import connected, job_of

    overrides = submitting.nested(pairs(set_, "--set"))
    if name is not None:
        overrides["name"] = name
    changes: dict[str, Any] = {"overrides": overrides}
    if from_checkpoint is not None:
        changes["from_checkpoint"] = from_checkpoint
    with connected() as still:
        made = job_of(still, job).clone(**changes)
        if watch:
            _watched(made, as_json=json)
        if quiet:
            typer.echo(made.id)
        elif json and not watch:
            output.emit(made)
        elif not json:
            _show(made)


@app.command()
def logs(
    job: JobRef,
    tail: Annotated[int | None, typer.Option(help="Only so many lines from the end.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
    json: Json = False,
) -> None:
    """Print what a job's trainers have said."""
    from stillhouse import errors
    from stillhouse.cli import output
    from stillhouse.cli.session import connected, job_of

    with connected() as still:
        found = job_of(still, job)
        try:
            pieces = found.follow_logs() if follow else iter([found.logs(tail=tail)])
            for piece in pieces:
                if json:
                    output.line({"job": found.id, "log": piece})
                else:
                    typer.echo(piece, nl=False)
        except errors.NotFound as error:
            if error.code == "not_found":
                error.hint = "This service keeps no logs for clients; a newer one does."
            raise


@app.command()
def events(job: JobRef, json: Json = False) -> None:
    """List a job's states, oldest first: when, and why."""
    from stillhouse.cli import output
    from stillhouse.cli.session import connected, job_of

    with connected() as still:
        found = list(job_of(still, job).events())[::-1]
    if json:
        output.emit(found)
        return
    output.table(
        ["at", "from", "to", ">attempt", "why"],
        [
            (
                f"{one.at:%Y-%m-%d %H:%M:%S}",
                one.from_state,
                output.Marked(output.state(one.to_state)),
                one.attempt,
                one.reason,
            )
            for one in found
        ],
    )


@app.command()
def rm(jobs: Annotated[list[str], typer.Argument(metavar="JOB...")], json: Json = False) -> None:
    """Delete jobs that have ended, with all they made."""
    from stillhouse.cli import output
    from stillhouse.cli.session import connected, job_of

    with connected() as still:
        for named in jobs:
            job = job_of(still, named, newest=False)
            job.delete()
            output.deleted(job.id, as_json=json)


def _steer(named: str, verb: str, *, as_json: bool) -> None:
    from stillhouse.cli import output
    from stillhouse.cli.session import connected, job_of

    with connected() as still:
        job = job_of(still, named, newest=False)
        getattr(job, verb)()
    if as_json:
        output.emit(job)
    else:
        typer.echo(f"{job.id} is {job.state}")


def _watched(job: "stillhouse.Job", *, as_json: bool) -> None:
    from stillhouse.cli.watch import watch

    try:
        watch(job, as_json=as_json)
    except KeyboardInterrupt:
        typer.echo(
            f"\nThe job goes on. Watch it again: stillhouse jobs watch {job.id}"
            f"\nEnd it:                          stillhouse jobs cancel {job.id}",
            err=True,
        )
        raise typer.Exit(130) from None


def _show(job: "stillhouse.Job") -> None:
    from stillhouse.cli import output

    done = job.progress
    output.fields(
        {
            "id": job.id,
            "name": job.name,
            "state": output.Marked(output.state(job.state)),
            "phase": None if job.is_terminal else job.phase,
            "error": (job.error or {}).get("detail"),
            "done": f"{done.get('fraction') or 0:.0%}",
            "method": output.named(job.spec.get("method"), "name"),
            "student": output.named(job.spec.get("student", {}).get("network"), "family"),
            "teachers": ", ".join(job.spec.get("teachers", ())) or None,
            "dataset": output.named(job.spec.get("dataset"), "name"),
            "labels": ", ".join(f"{key}={value}" for key, value in job.labels.items()) or None,
            "created": output.when(job.created_at),
            "took": output.lasting((job.finished_at - job.started_at).total_seconds())
            if job.finished_at and job.started_at
            else None,
        }
    )
    if job.state == "succeeded":
        # The verdict last, where the eye is; then lines to copy, which no terminal's width breaks.
        if sentence := _verdict(job):
            output.console().print(f"\n{sentence}", markup=False)
        typer.echo(f"\nnext: stillhouse report {job.id}", err=True)
        typer.echo(f"      stillhouse download {job.id}", err=True)


def _verdict(job: "stillhouse.Job") -> str:
    """The report's sentence; none where a job of this kind has no report."""
    from stillhouse import errors

    try:
        return str(job.report().get("sentence") or "")
    except errors.Problem:
        return ""
