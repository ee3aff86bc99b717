"""A served API for tests, and rows as workers leave them."""

import contextlib
import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import sqlalchemy as sa

from app.asgi import Server, server_config
from app.db import Database
from app.ids import new_id
from app.main import create_app
from app.settings import Settings
from app.storage import DirectoryStorage
from app.tables import (
    DEFAULT_PROJECT,
    Artifact,
    Blob,
    Dataset,
    Evaluation,
    Job,
    KnowledgeReport,
    Owned,
    Sweep,
    Teacher,
    Worker,
)

MLP = {"family": "mlp", "inputs": 784, "hidden": [32], "classes": 10}
SMALL_MLP = {"family": "mlp", "inputs": 784, "hidden": [8], "classes": 10}
JSON = {"Content-Type": "application/json"}
_BIN = {"low": 0.9, "high": 1.0, "examples": 3, "confidence": 0.95, "accuracy": 0.9}
_RELIABILITY = {"nll": 0.2, "ece": 0.05, "bins": [_BIN]}
KNOWLEDGE = json.dumps(
    {
        "classes": 10,
        "split": "train",
        "examples": 5000,
        "rows": 5000,
        "target": "label",
        "softness": [
            {"temperature": t, "entropy": 2.3 * s, "entropy_share": s, "off_target": s / 2}
            for t, s in ((1, 0.1), (2, 0.3), (4, 0.6), (8, 0.9), (20, 0.98))
        ],
        "similarity": {
            "temperature": 2,
            "chance": 1 / 9,
            "matrix": [[0 if c == j else 1 / 9 for j in range(10)] for c in range(10)],
            "confused": [{"classes": [3, 5], "similarity": 0.4}],
        },
        "calibration": {
            "split": "test",
            "examples": 1000,
            "accuracy": 0.9,
            "plain": _RELIABILITY,
            "temperature": 1.5,
            "fitted_on": "validation",
            "calibrated": _RELIABILITY,
        },
    }
).encode()
"""As a worker writes it."""


@contextlib.contextmanager
def serve(settings: Settings) -> Iterator[str]:
    """The API behind a real server, on a port of its own. Its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(
        server_config(settings, lambda: create_app(settings), log_config=None, log_level=None)
    )
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class Rows:
    """Puts rows of a project where API and workers would."""

    def __init__(
        self, database: Database, storage: DirectoryStorage, project: str = DEFAULT_PROJECT
    ) -> None:
        self.database = database
        self.storage = storage
        self.project = project

    def teacher(self, **values: Any) -> str:
        row = {"name": "teacher", "state": "ready", "network": MLP, **values}
        return self._add(Teacher(id=new_id("tch"), **row))

    def dataset(self, *, state: str = "ready", **facts: Any) -> str:
        return self._add(
            Dataset(
                id=new_id("dst"), name="data", state=state, spec={}, facts=dataset_facts(**facts)
            )
        )

    def job(self, **values: Any) -> str:
        row = {"name": "job", "spec": {}, "labels": {}, "progress": {}, **values}
        return self._add(Job(id=new_id("job"), **row))

    def evaluation(self, **values: Any) -> str:
        row = {"dataset_id": "dst_0", "split": "test", "network": MLP, "sha256": "0", "key": "0"}
        return self._add(Evaluation(id=new_id("evl"), **{**row, **values}))

    def sweep(self, **values: Any) -> str:
        return self._add(Sweep(id=new_id("swp"), **values))

    def worker(self, **values: Any) -> str:
        row = {
            "id": f"worker-{new_id('w')}",
            "queue": "train",
            "device": "cpu",
            "memory_bytes": 2**33,
            "gflops": {"fp32": 100.0},
            **values,
        }
        return self._add(Worker(**row))

    def artifact(self, job_id: str, name: str, content: bytes, **values: Any) -> str:
        """The SHA-256 of its content."""
        sha256, size = self._blob(content)
        row = {"kind": "student", "format": "safetensors", "token": 1, "facts": {}, **values}
        self._add(
            Artifact(id=new_id("art"), job_id=job_id, name=name, sha256=sha256, size=size, **row)
        )
        return sha256

    def knowledge(self, dataset_id: str, teacher_id: str | None = None, **values: Any) -> str:
        """The id of a report that a worker has made."""
        row = {"key": "k", "state": "ready", "sha256": self._blob(KNOWLEDGE)[0], **values}
        return self._add(
            KnowledgeReport(
                id=new_id("rep"),
                subject=teacher_id or dataset_id,
                teacher_id=teacher_id,
                dataset_id=dataset_id,
                **row,
            )
        )

    def _blob(self, content: bytes) -> tuple[str, int]:
        with self.storage.writer() as writer:
            writer.write(content)
            sha256, size = writer.commit()
        with self.database.transaction() as session:
            session.merge(Blob(sha256=sha256, size=size))
        return sha256, size

    def set(self, table: type, row_id: str, **values: Any) -> None:
        with self.database.transaction() as session:
            session.execute(sa.update(table).where(table.id == row_id).values(**values))

    def change(self, statement: sa.Update) -> None:
        with self.database.transaction() as session:
            session.execute(statement)

    def _add(self, row: Any) -> str:
        if isinstance(row, Owned):
            row.project_id = self.project
        with self.database.transaction() as session:
            session.add(row)
        return row.id


def dataset_facts(**changes: Any) -> dict[str, Any]:
    """Of something like MNIST."""
    return {
        "rows": {"train": 5000, "validation": 500, "test": 1000},
        "classes": 10,
        "class_names": None,
        "feature_shape": [28, 28],
        "feature_dtype": "uint8",
        "class_balance": {"train": [500] * 10, "validation": [50] * 10, "test": [100] * 10},
        "preprocess": {"scale": 1 / 255, "mean": [0.13], "std": [0.3]},
        "labelled": True,
        "cut": ["validation"],
        "teacher_outputs": None,
        "sha256": "0" * 64,
        "bytes": 5_000_000,
        "preview": [],
        **changes,
    }


def checkpoint(content: bytes = b"") -> bytes:
    """What begins like safetensors, which is all that the API looks at."""
    header = json.dumps({"__metadata__": {"n": hashlib.sha256(content).hexdigest()}}).encode()
    return struct.pack("<Q", len(header)) + header + content


def upload(api: httpx.Client, content: bytes, name: str = "file.bin") -> str:
    response = api.post("/files", content=content, headers={"X-Filename": name})
    assert response.status_code == 201, response.text
    return response.json()["id"]


def job_body(rows: Rows, **changes: Any) -> dict[str, Any]:
    """The smallest job, over a new teacher and dataset unless they are given."""
    return {
        "teachers": changes.pop("teachers", None) or [rows.teacher()],
        "dataset": changes.pop("dataset", None) or rows.dataset(),
        "student": {"network": SMALL_MLP},
        **changes,
    }


def assert_problem(
    response: httpx.Response, status: int, code: str, pointer: str | None = None
) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert {"type", "title", "status", "detail", "code", "request_id", "retryable"} <= body.keys()
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    if status == 422:
        assert isinstance(body["errors"], list)
    if pointer is not None:
        assert pointer in [error["pointer"] for error in body["errors"]]
    return body
