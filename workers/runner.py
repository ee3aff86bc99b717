"""The trainer process, and the door to the engine without any service.

python -m workers.runner job.json --out DIR     trains from a job file, with a progress bar
python -m workers.runner --standby              warms up, then obeys one order (protocol.py)
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from app.lifeline import tie_to_parent
from app.spec.dataset import SPLITS, DatasetSpec, FileSource, UriSource
from app.spec.jobfile import JobFile, PreparedFile, ReportFile, TeacherFile
from app.spec.networks import NetworkSpec
from app.spec.problems import Refused
from workers.data.inspect import inspect_checkpoint, inspect_dataset
from workers.data.raw import Limits
from workers.data.readers import Files
from workers.disk import STORAGE_FULL, disk_full
from workers.engine.cache import Cache
from workers.engine.device import measure_gflops, measure_step_s, memory_bytes, pick_device
from workers.engine.evaluation import evaluate_checkpoint
from workers.engine.job import run_job
from workers.engine.reporter import Stopped
from workers.limits import Bounds, confine, impose, overstepped
from workers.narrator import Narrator
from workers.protocol import EVENTS_FD, Events

DEFAULT_CACHE_BYTES = 20 * 1024**3


class PipeReporter:
    """Tells the supervisor, and the job's log in words; hears it as SIGTERM."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.stopping = False
        self._narrator = Narrator()
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def send(self, event: str, **fields: Any) -> None:
        self.events.send(event, **fields)
        if (told := self._narrator.tell(event, fields)) is not None:
            print(told, flush=True)  # noqa: T201  (into the job's log)


class ConsoleReporter:
    """Tells a person: a progress bar, and metrics.jsonl and events.jsonl in the output folder."""

    def __init__(self, out: Path) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.stopping = False
        self._metrics = (out / "metrics.jsonl").open("w")
        self._events = (out / "events.jsonl").open("w")
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>5.1f} %  {task.fields[rate]}  {task.fields[latest]}"),
            TimeRemainingColumn(),
        )
        self._task = self.bar.add_task("starting", total=1.0, rate="", latest="")
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def send(self, event: str, **fields: Any) -> None:
        if event == "phase":
            self.bar.update(self._task, description=fields["phase"])
        elif event == "progress":
            self.bar.update(
                self._task,
                completed=fields["fraction"],
                rate=f"{fields['samples_per_s']:,.0f} examples/s",
            )
        elif event == "metrics":
            for point in fields["points"]:
                self._metrics.write(json.dumps(point) + "\n")
                if point[0].endswith("validation/accuracy"):
                    self.bar.update(self._task, latest=f"{point[0]} {point[4]:.4f}")
        if event not in ("metrics", "progress"):
            self._events.write(json.dumps({"event": event, **fields}) + "\n")
            self._events.flush()

    def close(self) -> None:
        self.bar.update(self._task, completed=1.0)
        self._metrics.close()
        self._events.close()


def home() -> Path:
    """The data directory, which is all that a trainer knows of the service."""
    return Path(os.environ.get("STILLHOUSE_HOME", ".stillhouse"))


def cache(file: JobFile) -> Cache:
    size = int(os.environ.get("STILLHOUSE_CACHE_BYTES", DEFAULT_CACHE_BYTES))
    return Cache(home() / "cache", size, file.owner)


def prepared(file: JobFile, out: Path) -> PreparedFile:
    """The job's data set; one that is given by its source is prepared first."""
    dataset = file.datasets[file.job.dataset]
    if isinstance(dataset, PreparedFile):
        return dataset
    facts = inspect_dataset(_sources(file, dataset), dataset, out / "dataset.safetensors", Limits())
    return PreparedFile(file=out / "dataset.safetensors", facts=facts, name=dataset.name)


def _sources(file: JobFile, dataset: DatasetSpec) -> Files | None:
    """Where the files of a data set's source lie on disk."""
    source = dataset.source
    if isinstance(source, UriSource):
        raise Refused.invalid(
            "uri_without_service", "A job file names files; only the service fetches uris."
        )
    if not isinstance(source, FileSource):
        return None
    if source.file is not None:
        return file.files[source.file]
    assert source.files is not None  # noqa: S101  (the specification holds it to one of the two)
    return {
        split: [file.files[identity] for identity in getattr(source.files, split)]
        for split in SPLITS
    }


def warm_up() -> None:
    """What the first step of any training would otherwise pay for: seconds of imports, and the
    kernels' own first call."""
    network = torch.nn.Linear(8, 8)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, fused=True)
    network(torch.randn(4, 8)).sum().backward()
    optimizer.step()


def standby() -> int:
    """Warms up, says hello, obeys one order."""
    tie_to_parent()  # nobody would hear of its results
    confine()
    events = Events(int(os.environ[EVENTS_FD]))
    reporter = PipeReporter(events)
    device = pick_device(os.environ.get("STILLHOUSE_DEVICE", "auto"))
    warm_up()
    events.send(
        "hello",
        device=device.type,
        memory_bytes=memory_bytes(device),
        gflops=measure_gflops(device),
        step_s=measure_step_s(device),
    )
    line = sys.stdin.readline()
    if not line:
        return 0
    with _telling(events):
        _obey(json.loads(line), events, reporter)
    return 0


def _obey(order: dict[str, Any], events: Events, reporter: PipeReporter) -> None:
    impose(Bounds(**order.get("bounds", {})))
    match order["order"]:
        case "train":
            file = JobFile.model_validate_json(Path(order["job_file"]).read_bytes())
            out = Path(order["out"])
            run_job(file, prepared(file, out), out, cache(file), reporter)
        case "inspect_teacher":
            network = TypeAdapter(NetworkSpec).validate_python(order["network"])
            facts = inspect_checkpoint(Path(order["file"]), network, order["filename"])
            events.send("inspected", facts=facts)
        case "inspect_dataset":
            spec = DatasetSpec.model_validate(order["spec"])
            limits = Limits(max_bytes=order["max_bytes"])
            found = inspect_dataset(_files(order["files"]), spec, Path(order["out"]), limits)
            events.send("inspected", facts=found.model_dump(mode="json"))
        case "evaluate":
            subject = TeacherFile.model_validate(order["subject"])
            dataset = PreparedFile.model_validate(order["dataset"])
            device = pick_device(os.environ.get("STILLHOUSE_DEVICE", "auto"))
            names = order["class_names"]
            result = evaluate_checkpoint(subject, dataset, order["split"], names, device)
            events.send("inspected", facts=result)
        case "export_student":
            _export(order)
            events.send("inspected", facts={})
        case "report":
            # Not above: no training should wait for the import of scipy's optimisers.
            from workers.engine.knowledge import describe

            described = describe(ReportFile.model_validate(order["of"]))
            Path(order["out"]).write_text(described.model_dump_json())
            events.send("inspected", facts={})
        case unknown:
            raise ValueError(f"no such order: {unknown}")


def _export(order: dict[str, Any]) -> None:
    from workers.export.graphs import export_student  # a second, which no training should wait for

    network = TypeAdapter(NetworkSpec).validate_python(order["network"])
    about = json.loads(Path(order["about"]).read_text())
    export_student(network, Path(order["file"]), about, order["format"], Path(order["out"]))


def _files(by_split: dict[Any, list[str]]) -> Files | None:
    """An order's files: those of each split, one for everything under "all", or none."""
    if not by_split:
        return None
    if "all" in by_split:
        return Path(by_split["all"][0])
    return {split: [Path(path) for path in paths] for split, paths in by_split.items()}


@contextlib.contextmanager
def _telling(events: Events) -> Iterator[None]:
    """Ends with exactly one of done, stopped and failed."""
    try:
        yield
    except Stopped:
        events.send("stopped")
    except Refused as refused:
        events.send("failed", problem=refused.as_problem())
    except Exception as error:
        traceback.print_exc()
        full = disk_full(error)
        problem = overstepped(error) or Refused(
            503 if full else 500,
            STORAGE_FULL if full else "training_failed",
            "Service unavailable" if full else "Internal server error",
            f"{type(error).__name__}: {error}",
        )
        events.send("failed", problem=problem.as_problem())
    else:
        events.send("done")


def run_file(path: Path, out: Path) -> int:
    """Trains from a job file with no service; 0 on success, 1 when it failed, 130 if stopped."""
    out.mkdir(parents=True, exist_ok=True)
    file = JobFile.model_validate_json(path.read_bytes())
    reporter = ConsoleReporter(out)
    began = time.monotonic()
    try:
        with reporter.bar:
            run_job(file, prepared(file, out), out, cache(file), reporter)
    except Stopped:
        print(f"stopped; the checkpoint is in {out}", file=sys.stderr)  # noqa: T201
        return 130
    except Refused as refused:
        print(f"failed: {refused.as_problem()['detail']}", file=sys.stderr)  # noqa: T201
        return 1
    finally:
        reporter.close()
    print((out / "card.md").read_text())  # noqa: T201
    print(f"{out}: {time.monotonic() - began:.1f} s")  # noqa: T201
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m workers.runner", description=__doc__)
    parser.add_argument("job", nargs="?", type=Path, help="a job file (app/spec/jobfile.py)")
    parser.add_argument("--out", type=Path, default=Path("run"), help="folder for the artifacts")
    parser.add_argument("--standby", action="store_true", help="wait for an order (internal)")
    arguments = parser.parse_args()
    if arguments.standby:
        return standby()
    if arguments.job is None:
        parser.error("a job file is needed")
    return run_file(arguments.job, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
