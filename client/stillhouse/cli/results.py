"""stillhouse metrics, report, download: what comes of a job."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillhouse.cli.options import JobRef, Json, Keys, Out

if TYPE_CHECKING:
    import stillhouse

SIDES = ("teacher", "student", "baseline")
FACTS = (
    ("accuracy", "{:.2%}"),
    ("errors", "{:,}"),
    ("nll", "{:.4f}"),
    ("ece", "{:.4f}"),
    ("agreement", "{:.2%}"),
    ("kl_to_teacher", "{:.4f}"),
    ("parameters", "{:,}"),
    ("flops", "{:,}"),
    ("bytes", "{:,}"),
    ("latency_ms", "{:.3f}"),
)


def metrics(
    job: JobRef,
    keys: Keys = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the curves here.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write every point to this .csv or .parquet file."),
    ] = None,
    x: Annotated[str, typer.Option(help="step, epoch or time.")] = "step",
    json: Json = False,
) -> None:
    """Show a job's curves: their last values, a drawing of some (of train/loss and
    validation/accuracy, unless --keys names others), or a file of all points."""
    from stillhouse.cli import output
    from stillhouse.cli.failures import Mistaken
    from stillhouse.cli.session import connected, job_of

    if x not in ("step", "epoch", "time"):
        raise Mistaken(f"--x is step, epoch or time, not {x}.")
    wanted = [key.strip() for key in keys.split(",")] if keys else None
    with connected() as still:
        found = job_of(still, job)
        if wanted:
            _no_unknown(found, wanted)
        if out is not None:
            typer.echo(found.export_metrics(out, keys=wanted))
            return
        curves = found.metrics(wanted, x=x)  # type: ignore[arg-type]
    if json:
        output.emit(curves)
    elif plot:
        _draw(curves, everything=wanted is not None)
    else:
        output.table(
            ["key", ">points", ">last", ">lowest", ">highest"],
            [_summed(series) for series in curves.series],
        )


def report(job: JobRef, json: Json = False) -> None:
    """Show whether distillation helped: teacher, student and baseline on the same examples, and
    what became of controls."""
    from stillhouse.cli import output
    from stillhouse.cli.session import connected, job_of

    with connected() as still:
        told = job_of(still, job).report()
    if json:
        output.emit(told)
        return
    controls = told.get("controls") or {}
    sides = {side: told[side] for side in SIDES if isinstance(told.get(side), dict)}
    sides |= {name: side for name, side in controls.items() if "failed" not in side}
    rows = [
        [name.replace("_", " "), *(_fact(side.get(name), form) for side in sides.values())]
        for name, form in FACTS
    ]
    heads = [f">{side.replace('_', ' ')}" for side in sides]
    output.table(["", *heads], [row for row in rows if any(row[1:])])
    sentences = [told.get("sentence", ""), (told.get("attribution") or {}).get("sentence", "")]
    sentences += [
        f"The control {name} came to nothing: {side['failed']}."
        for name, side in controls.items()
        if "failed" in side
    ]
    output.console().print("".join(f"\n{one}" for one in sentences if one), markup=False)


def download(
    job: JobRef,
    format: Annotated[  # noqa: A002  (its name in the address)
        str, typer.Option(help="safetensors, onnx, pt2 or bundle.")
    ] = "safetensors",
    artifact: Annotated[
        str | None, typer.Option(help="Instead of the student: report.json, network.json, ...")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Say what there is.")] = False,
    out: Out = None,
    force: Annotated[bool, typer.Option("--force", help="Write over another file.")] = False,
    json: Json = False,
) -> None:
    """Download the student. What broke off goes on; the SHA-256 is checked."""
    from stillhouse.cli import output
    from stillhouse.cli.session import connected, job_of

    with connected() as still:
        found = job_of(still, job)
        if listing:
            _list(found, as_json=json)
            return
        name = artifact or f"student.{'zip' if format == 'bundle' else format}"
        to = out or Path(name.replace("/", "-"))
        if to.is_dir():
            to /= name.replace("/", "-")
        with output.transfer(to.name) as bar:
            task = bar.add_task("", total=None)

            def progress(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            path = _fetched(found, artifact, format, to, force, progress)
    if json:
        output.emit({"path": str(path), "size": path.stat().st_size})
    else:
        typer.echo(path)


def _fetched(
    job: "stillhouse.Job",
    artifact: str | None,
    format_: str,
    to: Path,
    force: bool,
    progress: Callable[[int, int], None],
) -> Path:
    from stillhouse.cli.failures import Mistaken

    try:
        if artifact is not None:
            return job.download_artifact(artifact, to, overwrite=force, progress=progress)
        return job.download(to, format=format_, overwrite=force, progress=progress)  # type: ignore[arg-type]
    except FileExistsError:
        raise Mistaken(f"{to} is there already, with other bytes: --force replaces it.") from None


def _list(job: "stillhouse.Job", *, as_json: bool) -> None:
    from stillhouse.cli import output

    found = job.artifacts()
    if as_json:
        output.emit(found)
        return
    output.table(
        ["name", "kind", "format", ">size"],
        [(one.name, one.kind, one.format, output.size(one.size)) for one in found],
    )


def _no_unknown(job: "stillhouse.Job", wanted: list[str]) -> None:
    """Raises Mistaken for a curve that the job has not, with those that it has."""
    import difflib

    from stillhouse.cli.failures import Mistaken

    there = job.metrics(max_points=FEWEST).keys()
    if not there and not job.is_terminal:
        return  # a program that asks again and again may begin before there is anything
    for key in wanted:
        if key in there:
            continue
        close = difflib.get_close_matches(key, there, n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        yet = "" if job.is_terminal else " yet"
        raise Mistaken(
            f"{job.id} has no curve {key}{yet}.{meant}\nIt has {', '.join(there) or 'none'}."
        )


FEWEST = 10
"""Points of a curve where only its name is asked for."""


def _draw(curves: "stillhouse.Metrics", *, everything: bool) -> None:
    """Curves of one kind (train/loss and baseline/0/train/loss) in one chart."""
    from stillhouse.cli import output, plot

    console = output.console()
    width = min(console.width, 100)
    groups = plot.together([plot.Curve(one.key, one.x, one.y) for one in curves.series])
    if not everything:
        # A job may have dozens: these two tell how it goes, unless it has neither.
        groups = {kind: groups[kind] for kind in plot.FIRST if kind in groups} or groups
    for kind, group in groups.items():
        console.print(plot.chart(kind, group, width=width, height=12, x=curves.x), "")
    if not groups:
        console.print("no points yet")


def _summed(series: Any) -> list[Any]:
    from stillhouse.cli import plot

    lows = [y for y in (series.y_min or series.y) if y is not None]
    highs = [y for y in (series.y_max or series.y) if y is not None]
    last = series.y[-1] if series.y else None
    return [
        series.key,
        f"{series.count:,}",
        "" if last is None else plot.number(last),
        plot.number(min(lows)) if lows else "",
        plot.number(max(highs)) if highs else "",
    ]


def _fact(value: Any, form: str) -> str:
    if isinstance(value, dict):  # over several seeds
        value = value.get("mean")
    return form.format(value) if isinstance(value, int | float) else ""
