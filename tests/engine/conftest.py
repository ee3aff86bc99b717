"""Small real jobs for the engine: digits, tiny networks, no service."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from app.spec.dataset import DatasetSpec
from app.spec.jobfile import JobFile, PreparedFile
from workers.data.inspect import inspect_dataset
from workers.engine.cache import Cache
from workers.engine.job import run_job
from workers.networks import build
from workers.networks.store import save_network

TEACHER = {"family": "mlp", "inputs": 64, "hidden": [64], "classes": 10}
STUDENT = {"family": "mlp", "inputs": 64, "hidden": [16], "classes": 10, "dropout": 0.2}
IMAGE_TEACHER = {"family": "convnet", "inputs": [1, 8, 8], "channels": [8, 16], "hidden": [32]}
IMAGE_STUDENT = {**IMAGE_TEACHER, "hidden": [], "dropout": 0.2}
"""Its feature maps have as many channels as the teacher's."""


class Recorder:
    """Keeps every event, and asks for an end once `stop_at` steps were counted."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.stop_at = stop_at
        self.steps = 0

    @property
    def stopping(self) -> bool:
        """Asked before each step, and by each batch of a teacher pass."""
        self.steps += 1
        return self.stop_at is not None and self.steps > self.stop_at

    def send(self, event: str, **fields: Any) -> None:
        json.dumps(fields, allow_nan=False)  # whatever is sent must be JSON
        self.events.append((event, fields))

    def all(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def curve(self, key: str) -> dict[int, float]:
        """step -> value"""
        points = [point for fields in self.all("metrics") for point in fields["points"]]
        return {step: value for name, step, _, _, value in points if name == key}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PreparedFile:
    path = tmp_path_factory.mktemp("digits") / "digits.safetensors"
    spec = DatasetSpec.model_validate(
        {"name": "digits", "source": {"kind": "builtin", "name": "digits"}}
    )
    return PreparedFile(file=path, facts=inspect_dataset(None, spec, path))


@pytest.fixture(scope="session")
def teacher_file(digits: PreparedFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher trained by a supervised job."""
    out = tmp_path_factory.mktemp("teacher")
    job = job_file(digits, None, student=TEACHER, method={"name": "supervised"}, epochs=15)
    run_job(job, digits, out, Cache(out / "cache", 10**9), Recorder())
    return out / "student.safetensors"


@pytest.fixture(scope="session")
def image_teacher_file(digits: PreparedFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher with feature maps."""
    out = tmp_path_factory.mktemp("image-teacher")
    job = job_file(digits, None, student=IMAGE_TEACHER, method={"name": "supervised"}, epochs=8)
    run_job(job, digits, out, Cache(out / "cache", 10**9), Recorder())
    return out / "student.safetensors"


def job_file(
    dataset: PreparedFile,
    teachers: list[Path] | None,
    *,
    student: dict[str, Any] = STUDENT,
    whole_student: dict[str, Any] | None = None,
    teacher: dict[str, Any] = TEACHER,
    method: dict[str, Any] | None = None,
    epochs: int = 3,
    training: dict[str, Any] | None = None,
    **fields: Any,
) -> JobFile:
    ids = [f"tch_{number}" for number, _ in enumerate(teachers or [])]
    return JobFile.model_validate(
        {
            "job": {
                "teachers": ids,
                "dataset": "dst_d",
                "student": whole_student or {"network": student},
                "method": method or {"name": "kd"},
                "training": {
                    "epochs": epochs,
                    "batch_size": 64,
                    "optimizer": {"name": "adam", "lr": 0.003},
                    **(training or {}),
                },
                **fields,
            },
            "teachers": {
                name: {"network": teacher, "file": str(path)}
                for name, path in zip(ids, teachers or [], strict=True)
            },
            "datasets": {"dst_d": dataset},
            "threads": 1,
        }
    )


@pytest.fixture
def run(
    digits: PreparedFile, teacher_file: Path, image_teacher_file: Path, tmp_path: Path
) -> Callable[..., tuple[Path, Recorder]]:
    """Runs a job on digits; by default kd from the trained teacher. Returns folder and events.

    With `images` both networks have feature maps.
    """

    def go(
        name: str = "run",
        *,
        recorder: Recorder | None = None,
        cache: str = "cache",
        teachers: list[Path] | None = None,
        update: dict[str, Any] | None = None,
        images: bool = False,
        **fields: Any,
    ) -> tuple[Path, Recorder]:
        if images:
            teachers = [image_teacher_file]
            fields = {"teacher": IMAGE_TEACHER, "student": IMAGE_STUDENT, **fields}
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        recorder = recorder or Recorder()
        chosen = [teacher_file] if teachers is None else teachers
        file = job_file(digits, chosen, **fields)
        file = file.model_copy(update=update or {})
        run_job(file, digits, out, Cache(tmp_path / cache, 10**9), recorder)
        return out, recorder

    return go


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """A teacher with fresh weights."""
    from pydantic import TypeAdapter

    from app.spec.networks import NetworkSpec

    path = tmp_path / "untrained.safetensors"
    save_network(build(TypeAdapter(NetworkSpec).validate_python(TEACHER), seed=5), path)
    return path
