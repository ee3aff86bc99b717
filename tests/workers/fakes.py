"""A trainer that does as it is told, to see what its supervisor makes of it.

It reads an order like the real one; the script (a list of words) comes from STILLHOUSE_DEVICE,
which is one of the few variables that reach a trainer.
"""

import sys
import time
from pathlib import Path

from workers.processes import Spawner, Trainer, trainer_environment

HEAD = """
import hashlib, json, os, signal, sys, time
from pathlib import Path
from app.lifeline import tie_to_parent
tie_to_parent()
from workers.protocol import EVENTS_FD, Events
events = Events(int(os.environ[EVENTS_FD]))
stopping = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
events.send("hello", device="cpu", memory_bytes=1, gflops={"fp32": 1.0})
line = sys.stdin.readline()
if not line:
    sys.exit(0)
order = json.loads(line)
out = Path(order.get("out", "."))

def progress(step):
    events.send("progress", stage=0, stages=1, epoch=0, epochs=1, step=step, steps=100,
                fraction=step / 100, samples_per_s=1.0, eta_s=1.0)
    events.send("metrics", points=[["train/loss", step, step / 10, 1.0 * step, 1 / (step + 1)]])

def publish(event, name, step, text, **fields):
    path = out / name
    path.write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    events.send(event, name=name, file=str(path), sha256=digest, size=len(text), stage=0,
                step=step, **fields)

def wait_for_sigterm():
    while not stopping:
        time.sleep(0.01)
"""


def fake_trainer(spawner: Spawner, home: Path, body: str) -> Trainer:
    """A process that runs HEAD and then `body`."""
    command = [sys.executable, "-c", HEAD + body]
    return Trainer(spawner, trainer_environment(home), command)


def drain(trainer: Trainer, *, limit_s: float = 15) -> list[dict]:
    """Every event until the trainer has ended."""
    events: list[dict] = []
    deadline = time.monotonic() + limit_s
    while not trainer.ended:
        events += trainer.events(0.05)
        assert time.monotonic() < deadline, "still running"
    return events


class Bell:
    """Notes who was rung for."""

    def __init__(self) -> None:
        self.rung: list[str] = []

    def run_job(self, job_id: str, priority: str) -> None:
        assert priority == "normal"
        self.rung.append(job_id)
