"""Trainers forked from a process that has torch already: born fast, and as mortal as others."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from tests.workers.fakes import drain
from workers.forks import Forks, may_fork
from workers.processes import Spawner, Trainer, trainer_environment


@pytest.fixture(scope="module")
def hatchery(tmp_path_factory):
    """(spawner, environment, forks): importing torch once serves all of these tests."""
    spawner = Spawner()
    environment = trainer_environment(tmp_path_factory.mktemp("home"))
    forks = Forks(spawner, environment)
    yield spawner, environment, forks
    forks.close()
    spawner.close()


@pytest.fixture
def born(hatchery):
    """Makes trainers that have said hello."""
    spawner, environment, forks = hatchery
    made = []

    def make() -> Trainer:
        trainer = Trainer(spawner, environment, forks=forks)
        made.append(trainer)
        deadline = time.monotonic() + 30
        while not any(event["event"] == "hello" for event in trainer.events(0.1)):
            assert not trainer.ended, trainer.last_words
            assert time.monotonic() < deadline
        return trainer

    yield make
    for trainer in made:
        if trainer.alive:
            trainer.close()


def gone(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie":
            return True
        time.sleep(0.02)
    return False


def test_a_second_trainer_is_there_in_a_fraction_of_the_first(born):
    first = born()
    began = time.monotonic()
    second = born()
    assert time.monotonic() - began < 1.0
    assert first.pid != second.pid
    assert os.getpgid(second.pid) == second.pid  # so that its children can be killed with it


def test_an_order_is_obeyed_and_the_exit_code_told(born):
    trainer = born()
    trainer.order(order="none such")
    assert drain(trainer)[-1]["event"] == "failed"
    assert "no such order" in trainer.last_words
    assert trainer.close() == 0


def test_one_death_is_nobody_elses(born):
    victim, other = born(), born()
    os.kill(victim.pid, signal.SIGKILL)
    drain(victim)
    assert victim.close() == -signal.SIGKILL
    assert other.alive
    assert gone(victim.pid)


def test_an_end_and_the_wish_for_it_may_come_at_once(born):
    """A busy server hears of both in the same moment, in this order."""
    victim, other = born(), born()
    server = psutil.Process(victim.pid).parent()
    server.suspend()
    while server.status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)
    victim._process._channel.shutdown(socket.SHUT_WR)
    os.kill(victim.pid, signal.SIGKILL)
    assert gone(victim.pid)
    server.resume()
    assert victim.close() == -signal.SIGKILL
    assert psutil.Process(born().pid).parent() == server
    assert other.alive


def test_closing_ends_a_trainer_that_is_not_born_yet(hatchery):
    spawner, environment, _ = hatchery
    cold = Forks(spawner, environment)
    trainer = Trainer(spawner, environment, forks=cold)
    assert trainer.pid is None
    began = time.monotonic()
    trainer.kill()
    assert trainer.close() == -signal.SIGKILL
    assert time.monotonic() - began < 20
    cold.close()


def test_trainers_die_with_their_server_and_the_next_one_finds_another(born):
    trainer = born()
    server = psutil.Process(trainer.pid).parent()
    server.kill()
    drain(trainer)
    assert gone(trainer.pid)
    assert trainer.close() == -signal.SIGKILL
    assert psutil.Process(born().pid).ppid() != server.pid


def test_a_worker_killed_leaves_neither_server_nor_trainer(tmp_path):
    worker = f"""
import json, time
from pathlib import Path
from workers.forks import Forks
from workers.processes import Spawner, Trainer, trainer_environment
spawner, environment = Spawner(), trainer_environment(Path({str(tmp_path)!r}))
trainer = Trainer(spawner, environment, forks=Forks(spawner, environment))
while not trainer.events(0.1): assert not trainer.ended
print(trainer.pid, flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    trainer = int(process.stdout.readline())
    server = psutil.Process(trainer).ppid()
    process.kill()
    process.wait()
    process.stdout.close()
    assert gone(trainer)
    assert gone(server)


def test_a_forked_training_gives_the_student_of_one_that_was_not(hatchery, born, tmp_path):
    job = {
        "job": {
            "dataset": "dst_digits",
            "student": {"network": {"family": "mlp", "inputs": 64, "hidden": [32], "classes": 10}},
            "method": {"name": "supervised"},
            "training": {"epochs": 3},
        },
        "datasets": {"dst_digits": {"name": "d", "source": {"kind": "builtin", "name": "digits"}}},
        "threads": 2,
    }
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job))
    _, environment, _ = hatchery
    out = {name: tmp_path / name for name in ("forked", "alone")}
    out["forked"].mkdir()
    trainer = born()
    trainer.order(order="train", job_file=str(path), out=str(out["forked"]))
    assert drain(trainer, limit_s=60)[-1]["event"] == "done", trainer.last_words
    trainer.close()
    command = [sys.executable, "-m", "workers.runner", path, "--out", out["alone"]]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    students = [(folder / "student.safetensors").read_bytes() for folder in out.values()]
    assert students[0] == students[1]


def test_only_trainers_for_the_cpu_are_forked(tmp_path):
    assert may_fork("auto", tmp_path)
    assert may_fork("cpu", tmp_path)
    assert not may_fork("cuda", tmp_path)
    for name in ("nvidiactl", "dxg"):
        node = tmp_path / name
        node.touch()
        assert not may_fork("auto", tmp_path)
        assert may_fork("cpu", tmp_path)
        node.unlink()
