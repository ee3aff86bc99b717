"""The trainer process: the command line, and the standby that obeys one order."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workers.protocol import EVENTS_FD

JOB = {
    "job": {
        "name": "by hand",
        "dataset": "dst_d",
        "student": {"network": {"family": "mlp", "inputs": 64, "hidden": [32], "classes": 10}},
        "method": {"name": "supervised"},
        "training": {"epochs": 5, "optimizer": {"name": "adam"}},
    },
    "datasets": {"dst_d": {"name": "digits", "source": {"kind": "builtin", "name": "digits"}}},
}


def test_a_job_file_runs_with_no_service(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps(JOB))
    done = subprocess.run(
        [sys.executable, "-m", "workers.runner", tmp_path / "job.json", "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        env={**os.environ, "STILLHOUSE_HOME": str(tmp_path / "home")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "by hand" in done.stdout
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"student.safetensors", "network.json", "report.json", "card.md"} <= made


class Trainer:
    """A standby trainer and its pipe."""

    def __init__(self, home: Path) -> None:
        read, write = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workers.runner", "--standby"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[write],
            env={**os.environ, "STILLHOUSE_HOME": str(home), EVENTS_FD: str(write)},
            text=True,
        )
        os.close(write)
        self.events = os.fdopen(read)

    def order(self, **order: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def next(self) -> dict:
        return json.loads(self.events.readline())

    def rest(self) -> list[dict]:
        return [json.loads(line) for line in self.events]


@pytest.fixture
def trainer(tmp_path: Path):
    trainer = Trainer(tmp_path)
    yield trainer
    trainer.process.kill()
    trainer.process.communicate()
    trainer.events.close()


def test_standby_trains_and_ends(trainer: Trainer, tmp_path: Path) -> None:
    hello = trainer.next()
    assert hello["event"] == "hello"
    assert hello["gflops"]["fp32"] > 0
    (tmp_path / "job.json").write_text(json.dumps(JOB))
    trainer.order(order="train", job_file=str(tmp_path / "job.json"), out=str(tmp_path))
    events = trainer.rest()
    assert events[-1] == {"event": "done"}
    assert [e["name"] for e in events if e["event"] == "artifact"][:2] == [
        "student.safetensors",
        "network.json",
    ]
    assert trainer.process.wait(10) == 0


def test_sigterm_leaves_a_checkpoint(trainer: Trainer, tmp_path: Path) -> None:
    trainer.next()
    job = {**JOB, "job": {**JOB["job"], "training": {"epochs": 5000}}}
    (tmp_path / "job.json").write_text(json.dumps(job))
    trainer.order(order="train", job_file=str(tmp_path / "job.json"), out=str(tmp_path))
    while trainer.next()["event"] != "metrics":
        pass
    trainer.process.send_signal(signal.SIGTERM)
    events = trainer.rest()
    assert events[-1] == {"event": "stopped"}
    assert [e for e in events if e["event"] == "checkpoint"]


def test_inspections(trainer: Trainer, tmp_path: Path) -> None:
    trainer.next()
    trainer.order(
        order="inspect_dataset",
        files={},
        spec={"name": "digits", "source": {"kind": "builtin", "name": "digits"}},
        out=str(tmp_path / "digits.safetensors"),
        max_bytes=10**9,
    )
    events = trainer.rest()
    assert events[0]["facts"]["rows"] == {"train": 1294, "validation": 144, "test": 359}
    assert events[-1] == {"event": "done"}


def test_bad_content_is_told_as_a_problem(trainer: Trainer, tmp_path: Path) -> None:
    trainer.next()
    (tmp_path / "bad").write_bytes(b"\x00" * 64)
    network = {"family": "mlp", "inputs": 4, "hidden": [], "classes": 2}
    trainer.order(
        order="inspect_teacher", file=str(tmp_path / "bad"), filename="bad", network=network
    )
    (failed,) = trainer.rest()
    assert failed["event"] == "failed"
    assert failed["problem"]["status"] == 422
