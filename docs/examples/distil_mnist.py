"""Train a teacher on MNIST, distil it at T = 20, watch the metrics, download the student.

    python docs/examples/distil_mnist.py mnist.npz [--epochs 5]

Needs httpx, numpy and safetensors, nothing of Stillhouse. `mnist.npz` holds the images and labels
x_train, y_train, x_test and y_test. The service is found at STILLHOUSE_URL
(http://127.0.0.1:8000); where it asks for an API key, STILLHOUSE_KEY holds one.
"""

import argparse
import hashlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from safetensors.numpy import load

key = os.environ.get("STILLHOUSE_KEY")
api = httpx.Client(
    base_url=os.environ.get("STILLHOUSE_URL", "http://127.0.0.1:8000"),
    # Bytes from the API itself, also where it would send us on to an object store.
    headers={"Prefer": "return=representation"}
    | ({"Authorization": f"Bearer {key}"} if key else {}),
    timeout=60,
)


def call(method: str, path: str, **kwargs: Any) -> dict[str, Any]:
    """One request; a problem is printed as the service words it."""
    answer = api.request(method, path, **kwargs)
    if answer.is_error:
        sys.exit(f"{method} {path}: {answer.status_code} {answer.text}")
    return dict(answer.json())


def ready(path: str) -> dict[str, Any]:
    """Waits until a teacher or data set has been checked."""
    while (resource := call("GET", path))["state"] == "checking":
        time.sleep(0.2)
    if resource["state"] != "ready":
        sys.exit(f"{path}: {resource['error']['detail']}")
    return resource


def finished(job: str) -> dict[str, Any]:
    """Polls a job's metrics until it has ended."""
    while True:
        metrics = call("GET", f"/jobs/{job}/metrics?keys=train/loss,validation/accuracy")
        state = call("GET", f"/jobs/{job}")
        last = {series["key"]: series["y"][-1] for series in metrics["series"]}
        done = state["progress"]["fraction"]
        print(f"  {state['phase']:<30.30} {done:6.1%}  {last}", flush=True)
        if state["is_terminal"]:
            break
        time.sleep(2)
    if state["state"] != "succeeded":
        sys.exit(f"{job} {state['state']}: {state['error']}")
    return state


def mlp(hidden: list[int], **fields: Any) -> dict[str, Any]:
    return {"family": "mlp", "inputs": 784, "hidden": hidden, "classes": 10, **fields}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()

    # Bytes in, and a data set made of them.
    data = options.mnist.read_bytes()
    file = call("POST", "/files", content=data, headers={"X-Filename": "mnist.npz"})
    assert file["sha256"] == hashlib.sha256(data).hexdigest()
    dataset = call(
        "POST",
        "/datasets",
        json={"name": "mnist", "source": {"kind": "file", "file": file["id"]}},
    )
    print("data set:", ready(f"/datasets/{dataset['id']}")["rows"])

    # A teacher: supervised training is a method too.
    training = {"epochs": options.epochs, "batch_size": 128, "optimizer": {"name": "adam"}}
    teacher_job = call(
        "POST",
        "/jobs",
        json={
            "name": "mnist teacher",
            "dataset": dataset["id"],
            "student": {"network": mlp([1200, 1200], dropout=0.5, input_dropout=0.2)},
            "method": {"name": "supervised"},
            "training": {**training, "augment": [{"name": "shift", "pixels": 2}]},
        },
        headers={"Idempotency-Key": f"teacher-{time.time_ns()}"},
    )
    print("teacher:", teacher_job["id"])
    finished(teacher_job["id"])
    teacher = call("POST", "/teachers", json={"name": "mnist", "job": teacher_job["id"]})
    ready(f"/teachers/{teacher['id']}")

    # The distilled student, beside the same student without the teacher.
    job = call(
        "POST",
        "/jobs",
        json={
            "name": "mnist 800-800",
            "teachers": [teacher["id"]],
            "dataset": dataset["id"],
            "student": {"network": mlp([800, 800])},
            "method": {"name": "kd", "temperature": 20.0, "alpha": 0.9},
            "training": training,
        },
    )
    print("student:", job["id"])
    finished(job["id"])
    report = call("GET", f"/jobs/{job['id']}/report")
    for side in ("teacher", "student", "baseline"):
        told = report[side]
        print(f"  {side:<9} {told['errors']:>5} errors, {told['parameters']:>9,} parameters")
    print(report["sentence"])

    # Bytes out, checked against their hash, and run with numpy alone.
    answer = api.get(f"/jobs/{job['id']}/student").raise_for_status()
    assert answer.headers["etag"].strip('"') == hashlib.sha256(answer.content).hexdigest()
    weights = load(answer.content)
    network = json.loads(api.get(f"/jobs/{job['id']}/artifacts/network.json").content)
    with np.load(io.BytesIO(data)) as arrays:
        x, y = arrays["x_test"], arrays["y_test"]
    constants = network["preprocess"]
    z = (x.reshape(len(x), -1) * constants["scale"] - constants["mean"]) / constants["std"]
    z = z.astype(np.float32)
    for layer in range(len(network["hidden"]) + 1):
        z = z @ weights[f"layers.{layer}.weight"].T + weights[f"layers.{layer}.bias"]
        if layer < len(network["hidden"]):
            z = np.maximum(z, 0)
    accuracy = float((z.argmax(1) == y).mean())
    print(f"reloaded: {accuracy:.4f}, reported: {report['student']['accuracy']:.4f}")
    # numpy and torch round differently: an example whose best two logits tie may fall either way.
    if abs(accuracy - report["student"]["accuracy"]) > 1e-4:
        sys.exit("the reloaded student does not reach the reported accuracy")


if __name__ == "__main__":
    main()
