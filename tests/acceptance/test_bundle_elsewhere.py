"""A student leaves: its bundle in an environment that has never heard of this project."""

import importlib.metadata
import io
import json
import os
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.datasets import load_digits

from tests.acceptance.conftest import Service, mlp

pytestmark = pytest.mark.slow

CHECK = """\
import importlib.util, json
import numpy as np, torch
from load import load

for module in ("app", "workers", "pydantic", "stillhouse"):
    assert importlib.util.find_spec(module) is None, module
with torch.inference_mode():
    logits = load()(torch.from_numpy(np.load("../x_test.npy")))
print(json.dumps(logits.argmax(1).tolist()))
"""


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with torch, safetensors and numpy."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, with_pip=False)
    python = str(folder / "bin" / "python")
    torch_version = importlib.metadata.version("torch").partition("+")[0]
    wanted = [f"torch=={torch_version}", "safetensors", "numpy"]
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    subprocess.run([*install, *wanted], check=True, timeout=600)
    return python


@pytest.fixture(scope="module")
def job(service: Service, teacher: str) -> str:
    """Distilled on digits that were uploaded, so that the test examples are known here."""
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8).astype(np.uint8)
    content = io.BytesIO()
    np.savez(content, x_train=x[:1400], y_train=y[:1400], x_test=x[1400:], y_test=y[1400:])
    file = service.upload(content.getvalue(), "digits.npz")
    body = {"name": "ours", "source": {"kind": "file", "file": file}, "license": "CC-BY-4.0"}
    dataset = service.post("/datasets", body)
    assert service.checked(f"/datasets/{dataset['id']}")["license"] == "CC-BY-4.0"
    job = service.post(
        "/jobs",
        {
            "name": "leaves",
            "teachers": [teacher],
            "dataset": dataset["id"],
            "student": {"network": mlp(16)},
            "training": {"epochs": 20, "optimizer": {"name": "adam", "lr": 0.003}},
        },
    )
    assert service.ended(job["id"])["state"] == "succeeded"
    return str(job["id"])


def test_it_runs_and_answers_as_reported(
    service: Service, job: str, bare_python: str, tmp_path: Path
) -> None:
    got = service.http.get(f"/jobs/{job}/student?format=bundle")
    assert got.headers["content-type"] == "application/zip"
    folder = tmp_path / "student"
    with zipfile.ZipFile(io.BytesIO(got.content)) as archive:
        archive.extractall(folder)
    x, y = load_digits(return_X_y=True)
    np.save(tmp_path / "x_test.npy", x[1400:].reshape(-1, 8, 8).astype(np.uint8))
    (folder / "check.py").write_text(CHECK)
    done = subprocess.run(
        [bare_python, "check.py"],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    classes = json.loads(done.stdout)
    predictions = service.http.get(f"/jobs/{job}/artifacts/predictions.parquet").content
    assert classes == pq.read_table(io.BytesIO(predictions)).to_pydict()["student"]
    report = service.get(f"/jobs/{job}/report")
    assert float(np.mean(classes == y[1400:])) == report["student"]["accuracy"] > 0.5
    assert json.loads((folder / "report.json").read_text()) == report
    assert "CC-BY-4.0" in (folder / "LICENSE.txt").read_text()
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["dataset"]["name"] == "ours"


@pytest.mark.parametrize("format_", ["onnx", "pt2"])
def test_graphs_are_made_on_request(
    service: Service, job: str, format_: str, tmp_path: Path
) -> None:
    deadline = time.monotonic() + 90
    while (got := service.http.get(f"/jobs/{job}/student?format={format_}")).status_code == 202:
        assert got.headers["retry-after"]
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert got.status_code == 200, got.text
    path = tmp_path / f"student.{format_}"
    path.write_bytes(got.content)
    x = load_digits().images[1400:].astype(np.uint8)
    if format_ == "onnx":
        (logits,) = onnxruntime.InferenceSession(path).run(None, {"input": x})
    else:
        with torch.inference_mode():
            logits = torch.export.load(path).module()(torch.from_numpy(x)).numpy()
    predictions = service.http.get(f"/jobs/{job}/artifacts/predictions.parquet").content
    told = pq.read_table(io.BytesIO(predictions)).to_pydict()["student"]
    assert logits.argmax(1).tolist() == told
    (listed,) = [
        one
        for one in service.get(f"/jobs/{job}/artifacts")["data"]
        if one["name"] == f"student.{format_}"
    ]
    assert got.headers["etag"] == f'"{listed["sha256"]}"'
