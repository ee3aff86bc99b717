"""Trainers as processes: what they say, how they end, and that they never outlive their parent."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.workers.fakes import HEAD, drain, fake_trainer
from workers.processes import MAX_SAID, ProtocolError, Spawner, trainer_environment
from workers.standby import Standby


@pytest.fixture
def spawner():
    spawner = Spawner()
    yield spawner
    spawner.close()


def test_it_obeys_one_order_and_tells_events(spawner, tmp_path):
    trainer = fake_trainer(spawner, tmp_path, "progress(7)\nevents.send('done')")
    trainer.order(order="train", out=str(tmp_path))
    events = drain(trainer)
    assert [event["event"] for event in events] == ["hello", "progress", "metrics", "done"]
    assert events[1]["step"] == 7
    assert trainer.close() == 0


def test_what_was_told_before_a_death_counts(spawner, tmp_path):
    body = "for step in range(2000): progress(step)\nos.kill(os.getpid(), signal.SIGKILL)"
    trainer = fake_trainer(spawner, tmp_path, body)
    trainer.order(order="train")
    steps = [event["step"] for event in drain(trainer) if event["event"] == "progress"]
    assert steps == list(range(2000))
    assert trainer.close() == -signal.SIGKILL


@pytest.mark.parametrize(
    "said", [b"not json\\n", b"[1]\\n", b'{\\"event\\": 3}\\n', b"\\xff\\xfe\\n"], ids=range(4)
)
def test_nonsense_is_told_apart(spawner, tmp_path, said):
    body = f'os.write(events._file.fileno(), b"{said.decode()}")\nwait_for_sigterm()'
    trainer = fake_trainer(spawner, tmp_path, body)
    trainer.order(order="train")
    with pytest.raises(ProtocolError):
        drain(trainer)
    trainer.close()


def test_an_endless_line_is_cut_short(spawner, tmp_path):
    body = "while True: os.write(events._file.fileno(), b'x' * 65536)"
    trainer = fake_trainer(spawner, tmp_path, body)
    trainer.order(order="train")
    with pytest.raises(ProtocolError, match="more than"):
        drain(trainer)
    assert trainer.close() == -signal.SIGKILL


def test_of_a_flood_of_output_the_last_is_kept(spawner, tmp_path):
    body = "for _ in range(400): os.write(1, b'x' * 65536)\nprint('the end', flush=True)"
    trainer = fake_trainer(spawner, tmp_path, body)
    trainer.order(order="train")
    drain(trainer)
    trainer.close()
    said = trainer.take_output()
    lost = 400 * 65536 + len("the end\n") - MAX_SAID
    assert said.startswith(f"[{lost:,} bytes came too fast".encode())
    assert said.endswith(b"xthe end\n")
    assert len(said) < MAX_SAID + 100
    assert trainer.last_words.endswith("the end")


def test_output_is_taken_once(spawner, tmp_path):
    body = "print('first', flush=True)\nevents.send('done')\nwait_for_sigterm()\nprint('last')"
    trainer = fake_trainer(spawner, tmp_path, body)
    trainer.order(order="train")
    while not any(event["event"] == "done" for event in trainer.events(1)):
        pass
    said = trainer.take_output()
    trainer.terminate()
    drain(trainer)
    trainer.close()
    assert (said + trainer.take_output()).decode() == "first\nlast\n"
    assert trainer.take_output() == b""


def test_closing_kills_its_children_too(spawner, tmp_path):
    body = (
        "import subprocess\np = subprocess.Popen(['sleep', '60'])\nprogress(p.pid)\ntime.sleep(60)"
    )
    trainer = fake_trainer(spawner, tmp_path, body)
    trainer.order(order="train")
    grandchild = None
    while grandchild is None:
        for event in trainer.events(0.1):
            grandchild = event.get("step", grandchild)
    trainer.close()
    for _ in range(100):
        if not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == "zombie":
            break
        time.sleep(0.02)
    else:
        raise AssertionError("the grandchild lives on")


def test_sigterm_is_a_request(spawner, tmp_path):
    trainer = fake_trainer(spawner, tmp_path, "wait_for_sigterm()\nevents.send('stopped')")
    trainer.order(order="train")
    trainer.events(5)
    trainer.terminate()
    assert drain(trainer)[-1]["event"] == "stopped"
    assert trainer.close() == 0


def test_a_trainer_dies_with_its_supervisor(tmp_path):
    """Killed without a chance to clean up."""
    supervisor = f"""
import time
from pathlib import Path
from tests.workers.fakes import fake_trainer
from workers.processes import Spawner
spawner = Spawner()
trainer = fake_trainer(spawner, Path({str(tmp_path)!r}), "signal.pause()")
trainer.order(order="train")
while not trainer.events(1):
    pass
print(trainer.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", supervisor], stdout=subprocess.PIPE) as process:
        assert process.stdout
        child = psutil.Process(int(process.stdout.readline()))
        process.kill()
        process.wait()
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running()


def test_a_child_that_comes_too_late_ends_at_once(tmp_path):
    environment = trainer_environment(tmp_path) | {"STILLHOUSE_PARENT_PID": "1"}
    done = subprocess.run(
        [sys.executable, "-c", HEAD], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "is gone" in done.stderr


def test_a_trainer_inherits_nothing_that_it_could_betray(tmp_path):
    source = {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "0",
        "STILLHOUSE_DATABASE_URL": "postgresql://secret",
        "STILLHOUSE_BROKER_URL": "redis://secret",
        "STILLHOUSE_STORAGE_URL": "s3://secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "PGPASSWORD": "secret",
        "HOME": "/root",
    }
    environment = trainer_environment(tmp_path, source)
    assert "secret" not in str(environment)
    assert environment["STILLHOUSE_HOME"] == environment["HOME"] == str(tmp_path)
    assert environment["CUDA_VISIBLE_DEVICES"] == "0"


def test_a_standby_is_handed_out_once_and_replaced_when_asked(spawner, tmp_path):
    spawned = []

    def spawn():
        spawned.append(fake_trainer(spawner, tmp_path, ""))
        return spawned[-1]

    standby = Standby(spawn, size=1)
    standby.fill()
    standby.fill()
    assert len(spawned) == 1
    first = standby.take()
    assert first is spawned[0]
    assert len(spawned) == 1, "not at once: it would take the cores from the one just taken"
    standby.fill()
    assert len(spawned) == 2
    first.close()
    standby.close()
    assert not any(psutil.pid_exists(trainer.pid) for trainer in spawned)


def test_a_standby_that_died_is_replaced(spawner, tmp_path):
    standby = Standby(lambda: fake_trainer(spawner, tmp_path, ""), size=1)
    standby.fill()
    idle = standby._idle[0]
    os.kill(idle.pid, signal.SIGKILL)
    while idle.alive:
        time.sleep(0.01)
    standby.listen()
    hello = None
    while hello is None:
        hello = standby.listen()
    assert hello["device"] == "cpu"
    fresh = standby.take()
    assert fresh.pid != idle.pid
    fresh.close()
    standby.close()
