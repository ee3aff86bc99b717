"""A real distillation, watched through the public HTTP API: `make demo`.

Starts the service on a throw-away directory (or uses STILLHOUSE_URL, with the API key of
STILLHOUSE_KEY), uploads the digits, trains a teacher, and distils a much smaller student twice:
from all examples, and from a tenth of them, for which a teacher has more to give. Each time it
checks what the service says: the download's checksum, and the reported accuracy, recomputed here
with numpy alone. With STILLHOUSE_DATA set, MNIST follows.

It lives here and not in app/, since it is a client: nothing in it knows the service from inside.
"""

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from safetensors.numpy import load as load_safetensors

POLL_S = 0.25
START_S = 60.0
TERMINAL = "is_terminal"
SIDES = ("teacher", "student", "baseline")

console = Console(highlight=False)


class Disagreement(Exception):
    """What the service said is not what came out of it."""


@contextlib.contextmanager
def service() -> Iterator[str]:
    """The URL of a running service, started for the occasion unless STILLHOUSE_URL names one."""
    if url := os.environ.get("STILLHOUSE_URL"):
        yield url.rstrip("/")
        return
    with tempfile.TemporaryDirectory(prefix="stillhouse-demo-") as home:
        environment = os.environ | {"STILLHOUSE_HOME": home, "STILLHOUSE_PORT": "0"}
        with subprocess.Popen([sys.executable, "-m", "app.serve"], env=environment) as process:
            try:
                yield _announced(Path(home) / "serve.json", process)
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                process.wait()


def _announced(path: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_S
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("the service did not start; see above")
        time.sleep(0.05)
    url: str = json.loads(path.read_text())["url"]
    return url


class Client:
    """The few requests of the main path."""

    def __init__(self, url: str) -> None:
        key = os.environ.get("STILLHOUSE_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=30)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._checked(self.http.post(path, json=body))

    def get(self, path: str) -> dict[str, Any]:
        return self._checked(self.http.get(path))

    def upload(self, content: bytes, filename: str) -> str:
        response = self.http.post("/files", content=content, headers={"X-Filename": filename})
        identity: str = self._checked(response)["id"]
        return identity

    def register(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A teacher or dataset, once the service has checked it."""
        resource = self.post(path, body)
        while resource["state"] == "checking":
            time.sleep(POLL_S)
            resource = self.get(f"{path}/{resource['id']}")
        if resource["state"] != "ready":
            raise SystemExit(f"{path}: {resource['error']['detail']}")
        return resource

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Posts a job and shows its progress until it has ended."""
        job = self.post("/jobs", job)
        columns = (
            TextColumn("  {task.description:<26}"),
            BarColumn(30),
            TextColumn("{task.percentage:>4.0f} %  {task.fields[now]}"),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(job["name"], total=1.0, now="")
            while not job[TERMINAL]:
                time.sleep(POLL_S)
                job = self.get(f"/jobs/{job['id']}")
                bar.update(task, completed=job["progress"]["fraction"], now=self._latest(job))
            if job["state"] == "succeeded":
                bar.update(task, completed=1.0)
        if job["state"] != "succeeded":
            raise SystemExit(f"{job['name']}: {job['state']}: {(job['error'] or {}).get('detail')}")
        return job

    def _latest(self, job: dict[str, Any]) -> str:
        key = "validation/accuracy"
        answer = self.get(f"/jobs/{job['id']}/metrics?keys={key}&max_points=2")
        values = [y for series in answer["series"] for y in series["y"] if y is not None]
        accuracy = f", validation accuracy {100 * values[-1]:.1f} %" if values else ""
        return f"{job['phase']}{accuracy}"

    def student(self, job_id: str) -> bytes:
        """The distilled checkpoint. Raises Disagreement when its bytes are not those announced."""
        response = self.http.get(f"/jobs/{job_id}/student").raise_for_status()
        announced = response.headers["etag"].strip('"')
        found = hashlib.sha256(response.content).hexdigest()
        if announced != found:
            raise Disagreement(f"ETag says sha256 {announced}, the bytes say {found}")
        console.print(
            f"  downloaded: {len(response.content):,} bytes, sha256 {found[:16]}... agrees"
        )
        return response.content

    def artifact(self, job_id: str, name: str) -> bytes:
        listed = self.get(f"/jobs/{job_id}/artifacts")["data"]
        url = next(entry["url"] for entry in listed if entry["name"] == name)
        return self.http.get(url, follow_redirects=True).raise_for_status().content

    @staticmethod
    def _checked(response: httpx.Response) -> dict[str, Any]:
        if response.is_error:
            raise SystemExit(f"{response.request.method} {response.request.url}: {response.text}")
        document: dict[str, Any] = response.json()
        return document


def show(report: dict[str, Any]) -> None:
    """The table of the three sides, and the verdict."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("")
    for title in ("accuracy", "95 % interval", "errors", "NLL", "ECE", "parameters"):
        table.add_column(title, justify="right")
    for name in SIDES:
        side = report[name]
        if side is None:
            continue
        low, high = side["interval"]
        table.add_row(
            name,
            f"{100 * side['accuracy']:.2f} %",
            f"{100 * low:.2f} to {100 * high:.2f}",
            f"{side['errors']} of {side['examples']}",
            f"{side['nll']:.3f}",
            f"{side['ece']:.3f}",
            f"{side['parameters']:,}",
        )
    console.print(table)
    if len((report["difference"] or {}).get("seeds", ())) > 1:
        console.print("  [dim]The table is of the first seed.[/dim]")
    console.print(f"  [bold]{report['verdict']}[/bold]: {report['sentence']}")


def count_errors(weights: bytes, network: dict[str, Any], x: Any, y: Any) -> int:
    """Runs an `mlp` with numpy alone: y_k+1 = relu(W y_k + b), no relu after the last."""
    tensors = load_safetensors(weights)
    scale = network["preprocess"]["scale"]
    mean, std = (np.float32(network["preprocess"][name]) for name in ("mean", "std"))
    h = (x.astype(np.float32) * np.float32(scale)).reshape(len(x), -1)
    h = (h - mean) / std
    depth = len(network["hidden"]) + 1
    for i in range(depth):
        h = h @ tensors[f"layers.{i}.weight"].T + tensors[f"layers.{i}.bias"]
        if i < depth - 1:
            h = np.maximum(h, 0)
    return int((h.argmax(axis=1) != y).sum())


@dataclass(frozen=True)
class Plan:
    """One data set's demonstration; `shares` are the parts of the train split to distil from."""

    name: str
    arrays: dict[str, Any]
    teacher: dict[str, Any]
    student: dict[str, Any]
    teacher_epochs: int
    shares: dict[float, int]
    """Share of the examples, and epochs over it."""
    seeds: int


def demonstrate(client: Client, plan: Plan) -> None:
    """The main job from end to end. Raises Disagreement."""
    console.rule(plan.name, align="left")
    buffer = io.BytesIO()
    np.savez(buffer, **plan.arrays)
    source = {"kind": "file", "file": client.upload(buffer.getvalue(), f"{plan.name}.npz")}
    dataset = client.register("/datasets", {"name": plan.name, "source": source})
    rows = ", ".join(f"{count:,} {split}" for split, count in dataset["rows"].items())
    console.print(f"  {rows} examples of shape {dataset['feature_shape']}")

    training = {"batch_size": 64, "optimizer": {"name": "adam", "lr": 0.002}}
    taught = client.run(
        {
            "name": "a teacher",
            "dataset": dataset["id"],
            "student": {"network": plan.teacher},
            "method": {"name": "supervised"},
            "training": training | {"epochs": plan.teacher_epochs},
        }
    )
    teacher = client.register("/teachers", {"name": f"{plan.name} teacher", "job": taught["id"]})
    for share, epochs in plan.shares.items():
        distilled = client.run(
            {
                "name": f"{plan.seeds} students, {100 * share:.0f} % of data",
                "teachers": [teacher["id"]],
                "dataset": dataset["id"],
                "student": {"network": plan.student},
                "method": {"name": "kd", "temperature": 4.0, "alpha": 0.9},
                "training": training | {"epochs": epochs},
                "transfer": {"fraction": share},
                "baseline": {"seeds": plan.seeds},
            }
        )
        report = client.get(f"/jobs/{distilled['id']}/report")
        show(report)
        check(client, distilled["id"], report, plan.arrays)


def check(client: Client, job_id: str, report: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Downloads the student and counts its errors here. Raises Disagreement."""
    weights = client.student(job_id)
    network = json.loads(client.artifact(job_id, "network.json"))
    errors = count_errors(weights, network, arrays["x_test"], arrays["y_test"])
    if errors != report["student"]["errors"]:
        raise Disagreement(
            f"the downloaded student makes {errors} errors, the report says"
            f" {report['student']['errors']}"
        )
    console.print(f"  reloaded with numpy: the same {errors} errors of {len(arrays['y_test']):,}")


def digits() -> dict[str, Any]:
    """scikit-learn's 1,797 digits of 8x8 pixels; every fourth is kept for the test."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x, y = found.images.astype(np.uint8), found.target.astype(np.int64)
    test = np.arange(len(y)) % 4 == 3
    return {"x_train": x[~test], "y_train": y[~test], "x_test": x[test], "y_test": y[test]}


def mlp(inputs: int, *hidden: int, dropout: float = 0.0) -> dict[str, Any]:
    return {
        "family": "mlp",
        "inputs": inputs,
        "hidden": list(hidden),
        "classes": 10,
        "dropout": dropout,
    }


def plans() -> Iterator[Plan]:
    yield Plan(
        name="digits",
        arrays=digits(),
        teacher=mlp(64, 256, 256, dropout=0.3),
        student=mlp(64, 32),
        teacher_epochs=30,
        shares={1.0: 30, 0.1: 200},
        seeds=3,
    )
    folder = os.environ.get("STILLHOUSE_DATA")
    if folder and (path := Path(folder) / "mnist" / "mnist.npz").exists():
        with np.load(path) as found:
            arrays = {name: found[name] for name in ("x_train", "y_train", "x_test", "y_test")}
        yield Plan(
            name="MNIST",
            arrays=arrays,
            teacher=mlp(784, 512, 512, dropout=0.3),
            student=mlp(784, 32),
            teacher_epochs=3,
            shares={0.02: 40},
            seeds=3,
        )


def main() -> int:
    began = time.monotonic()
    try:
        with service() as url:
            client = Client(url)
            for plan in plans():
                demonstrate(client, plan)
    except Disagreement as disagreement:
        console.print(f"[bold red]disagreement:[/bold red] {disagreement}")
        return 1
    console.print(
        f"done in {time.monotonic() - began:.0f} s; next: make serve, and open its address"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
