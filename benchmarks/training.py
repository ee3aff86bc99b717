"""Samples a second of a distillation job: the textbook loop, and ours on the same work.

    python -m benchmarks.training mnist|resnet [--rounds 3]

Same pair, data, batch size, optimiser settings, number of epochs and threads; the loops take turns,
each in a process of its own as a user would run it, and medians are compared. `cold` charges the
teachers' pass that fills the cache, `warm` finds it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from app.spec.dataset import DatasetFacts, DatasetSpec
from app.spec.job import JobSpec
from app.spec.jobfile import JobFile, PreparedFile, TeacherFile
from app.spec.networks import NetworkSpec
from benchmarks import textbook
from workers.data.inspect import inspect_dataset
from workers.data.prepared import Prepared
from workers.engine import job as engine_job
from workers.engine.cache import Cache
from workers.engine.evaluate import eval_mode
from workers.engine.optim import rate_factor
from workers.networks import build
from workers.networks.preprocess import Preprocessed
from workers.networks.store import load_network, save_network

DATA = Path(os.environ.get("STILLHOUSE_DATA", "../shared/data"))


@dataclass
class Pair:
    """One teacher and student on one data set, ready on disk."""

    teacher: dict[str, Any]
    student: dict[str, Any]
    teacher_file: Path
    dataset: PreparedFile
    training: dict[str, Any]
    temperature: float
    alpha: float

    def job(self, precision: str, epochs: int, view_seed: int = 0) -> JobFile:
        spec = JobSpec.model_validate(
            {
                "teachers": ["tch_bench"],
                "dataset": "dst_bench",
                "student": {"network": self.student},
                "method": {"name": "kd", "temperature": self.temperature, "alpha": self.alpha},
                "training": self.training
                | {"precision": precision, "epochs": epochs, "view_seed": view_seed},
                "baseline": None,
                "select": {"metric": "last"},
            }
        )
        teacher = TeacherFile.model_validate(
            {"network": self.teacher, "file": str(self.teacher_file), "sha256": "bench"}
        )
        return JobFile(
            job=spec,
            teachers={"tch_bench": teacher},
            datasets={"dst_bench": self.dataset},
            threads=torch.get_num_threads(),
        )


class Stopwatch:
    """Hears the run's events; the clock of the training stage is in the deliverable."""

    stopping = False

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}

    def send(self, event: str, **fields: Any) -> None:
        if event == "phase":
            self.phases.setdefault(fields["phase"].split(" ")[0], time.perf_counter())


def ours(pair: Pair, precision: str, epochs: int, cache: Cache, work: Path) -> tuple[float, float]:
    """(seconds of the training stage with its teacher passes, test accuracy)."""
    out = Path(tempfile.mkdtemp(dir=work))
    engine_job.run_job(pair.job(precision, epochs), pair.dataset, out, cache, Stopwatch())
    report = json.loads((out / "report.json").read_text())
    return report["student"]["train_seconds"], report["student"]["accuracy"]


def theirs(pair: Pair, epochs: int, *, images: bool) -> tuple[float, float]:
    """The same work in the textbook loop."""
    data = Prepared.open(pair.dataset.file)
    constants = pair.dataset.facts.preprocess.model_dump()
    train, test = data.split("train"), data.split("test")
    spec = pair.job("fp32", epochs).job
    teacher = load_network(pair.job("fp32", 1).teachers["tch_bench"].network, pair.teacher_file)
    student = build(spec.student.network, seed=1)
    x = normalised(train.x, constants)
    transform = textbook.crop_and_flip if images else None
    assert train.y is not None
    assert test.y is not None
    settings = spec.training.optimizer
    if settings.name == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            student.parameters(),
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    else:
        optimizer = torch.optim.Adam(student.parameters(), lr=settings.lr)
    seconds = textbook.train(
        student,
        teacher,
        textbook.Examples(x, train.y, transform),
        optimizer,
        epochs=epochs,
        batch_size=spec.training.batch_size,
        temperature=pair.temperature,
        alpha=pair.alpha,
        rate=lambda done: rate_factor(spec.training.schedule, done * epochs, epochs),
    )
    return seconds, accuracy(student, normalised(test.x, constants), test.y)


def normalised(x: Tensor, constants: dict[str, Any]) -> Tensor:
    """Float images N x C x H x W (or N x D) as the textbook holds them in memory."""
    x = x.float() * constants["scale"]
    x = (x - torch.tensor(constants["mean"])) / torch.tensor(constants["std"])
    return x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x.flatten(1)


def accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    with eval_mode(network), torch.inference_mode():
        logits = torch.cat([network(part) for part in x.split(512)])
    return float((logits.argmax(1) == y).float().mean())


def mnist(work: Path) -> Pair:
    """784-1200-1200-10 -> 784-800-800-10, batch 128, Adam. The teacher is trained here, briefly."""
    return _pair(
        work,
        files=DATA / "mnist/mnist.npz",
        teacher={"family": "mlp", "inputs": 784, "hidden": [1200, 1200], "classes": 10},
        student={"family": "mlp", "inputs": 784, "hidden": [800, 800], "classes": 10},
        training={"batch_size": 128, "optimizer": {"name": "adam", "lr": 1e-3}},
        temperature=4.0,
        teacher_epochs=3,
    )


def resnet(work: Path) -> Pair:
    """resnet32x4 -> resnet8x4 on 32 x 32 images, batch 64, crop and flip, SGD. 1,024 real images
    and a teacher with fresh weights: arithmetic costs the same whatever the weights."""
    import pyarrow.parquet as pq

    images = work / "images.npz"
    if not images.exists():
        import io

        from PIL import Image

        def decoded(name: str, count: int) -> tuple[Any, Any]:
            table = pq.read_table(DATA / "cifar100" / name).slice(0, count)
            rows = table.column("image").to_pylist()
            raw = [row["bytes"] if isinstance(row, dict) else row for row in rows]
            x = np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in raw])
            return x, table.column("label").to_numpy()

        x, y = decoded("train-0.parquet", 1024)
        x_test, y_test = decoded("test.parquet", 256)
        np.savez(images, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return _pair(
        work,
        files=images,
        teacher={"family": "resnet", "depth": 32, "width": 4, "classes": 100},
        student={"family": "resnet", "depth": 8, "width": 4, "classes": 100},
        training={
            "batch_size": 64,
            "optimizer": {"name": "sgd", "lr": 0.05, "weight_decay": 5e-4},
            "augment": [{"name": "crop", "padding": 4}, {"name": "flip"}],
        },
        temperature=4.0,
        teacher_epochs=0,
        classes=[str(c) for c in range(100)],
    )


def _pair(
    work: Path,
    *,
    files: Path,
    teacher: dict[str, Any],
    student: dict[str, Any],
    training: dict[str, Any],
    temperature: float,
    teacher_epochs: int,
    classes: list[str] | None = None,
) -> Pair:
    teacher_file, facts_file = work / "teacher.safetensors", work / "facts.json"
    if not facts_file.exists():
        spec = DatasetSpec.model_validate(
            {
                "name": "bench",
                "source": {"kind": "file", "file": "file_bench"},
                "splits": {"validation": 0.0},  # all examples train, as in the textbook loop
                "class_names": classes,
            }
        )
        found = inspect_dataset(files, spec, work / "dataset.safetensors")
        network = build(TypeAdapter(NetworkSpec).validate_python(teacher), seed=0)
        if teacher_epochs:
            _teach(
                network,
                PreparedFile(file=work / "dataset.safetensors", facts=found),
                teacher_epochs,
            )
        save_network(network, teacher_file)
        facts_file.write_text(found.model_dump_json())
    facts = DatasetFacts.model_validate_json(facts_file.read_bytes())
    dataset = PreparedFile(file=work / "dataset.safetensors", facts=facts)
    return Pair(teacher, student, teacher_file, dataset, training, temperature, 0.9)


def _teach(network: nn.Module, dataset: PreparedFile, epochs: int) -> None:
    train = Prepared.open(dataset.file).split("train")
    assert train.y is not None
    wrapped = Preprocessed(network, **dataset.facts.preprocess.model_dump())  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    for _epoch in range(epochs):
        for index in torch.randperm(len(train.x)).split(256):
            loss = nn.functional.cross_entropy(wrapped(train.x[index]), train.y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


LOOPS = ("textbook fp32", "ours fp32 cold", "ours bf16 cold", "ours fp32 warm", "ours bf16 warm")


def measure(name: str, loop: str, epochs: int, work: Path) -> tuple[float, float]:
    """(seconds, test accuracy) of one loop, in this process."""
    pair = (resnet if name == "resnet" else mnist)(work)
    whose, precision, *state = loop.split()
    if whose == "textbook":
        return theirs(pair, epochs, images=name == "resnet")
    cache = work / "warm" if state == ["warm"] else Path(tempfile.mkdtemp(dir=work))
    return ours(pair, precision, epochs, Cache(cache, 10**12), work)


def measured(name: str, loop: str, epochs: int, work: Path) -> tuple[float, float]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", __spec__.name, name, "--epochs", str(epochs)]
    told = subprocess.run(
        [*command, "--loop", loop, "--work", str(work)], check=True, stdout=subprocess.PIPE
    ).stdout
    seconds, right = json.loads(told)
    return seconds, right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pair", choices=("mnist", "resnet"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS)
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    epochs = arguments.epochs or (1 if arguments.pair == "resnet" else 10)
    if arguments.loop:
        print(json.dumps(measure(arguments.pair, arguments.loop, epochs, arguments.work)))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments.pair, arguments.loops, epochs, arguments.rounds, Path(folder))


def compare(name: str, loops: Sequence[str], epochs: int, rounds: int, work: Path) -> None:
    """Prints each round, and the table of medians."""
    for loop in loops:
        if loop.endswith("warm"):
            measured(name, loop, epochs, work)  # fills the cache
    seconds: dict[str, list[float]] = {loop: [] for loop in loops}
    accuracies: dict[str, list[float]] = {loop: [] for loop in loops}
    for _ in range(rounds):
        for loop in loops:
            taken, right = measured(name, loop, epochs, work)
            seconds[loop].append(taken)
            accuracies[loop].append(right)
            print(f"  {loop}: {taken:.2f} s, accuracy {right:.4f}", flush=True)
    facts = DatasetFacts.model_validate_json((work / "facts.json").read_bytes())
    examples = facts.rows["train"] * epochs
    base = statistics.median(seconds[loops[0]])
    print(f"\n{name}, {epochs} epochs, {torch.get_num_threads()} threads\n")
    print(
        "| loop | seconds, each round | samples/s | ratio | test accuracy |\n|---|---|---|---|---|"
    )
    for loop, times in seconds.items():
        median = statistics.median(times)
        each = ", ".join(f"{taken:.1f}" for taken in times)
        spread = f"{min(accuracies[loop]):.4f} - {max(accuracies[loop]):.4f}"
        print(f"| {loop} | {each} | {examples / median:,.0f} | {base / median:.2f} | {spread} |")


if __name__ == "__main__":
    main()
