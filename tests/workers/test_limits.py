"""What a trainer may take: real processes that take more."""

import io
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from app.ids import new_id
from app.memory import machine_bytes
from app.tables import DEFAULT_PROJECT, Dataset
from tests.workers.fakes import fake_trainer
from tests.workers.rows import add_file
from workers.inspection import Inspector
from workers.memory import MemoryWatch, used_bytes
from workers.processes import Spawner, Trainer, trainer_environment
from workers.standby import Standby
from workers.verdicts import Verdicts

MIB = 2**20
HOG = """
held = []
for _ in range({mib}):
    held.append(bytearray(b"x" * 2**20))
events.send("inspected", facts={{}})
"""


def told(code: str) -> dict:
    """What a process of its own says, as JSON, after it has confined itself."""
    head = "import json, os, resource\nfrom workers.limits import *\nconfine()\n"
    done = subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_a_trainer_gives_up_what_it_does_not_need():
    found = told(
        "status = open('/proc/self/status').read()\n"
        "print(json.dumps({'core': resource.getrlimit(resource.RLIMIT_CORE),\n"
        "  'files': resource.getrlimit(resource.RLIMIT_NOFILE),\n"
        "  'privileges': 'NoNewPrivs:\\t1' in status,\n"
        "  'oom': int(open('/proc/self/oom_score_adj').read())}))"
    )
    assert found["core"] == [0, 0]
    assert 0 < found["files"][1] <= 4096
    assert found["privileges"] is True
    assert found["oom"] == 500


def test_the_real_trainer_is_confined(tmp_path):
    spawner = Spawner()
    trainer = Trainer(spawner, trainer_environment(tmp_path))
    while not (events := trainer.events(0.5)):
        assert not trainer.ended, trainer.last_words
    assert events[0]["event"] == "hello"
    status = Path(f"/proc/{trainer.pid}/status").read_text()
    limits = Path(f"/proc/{trainer.pid}/limits").read_text()
    trainer.close()
    spawner.close()
    assert "NoNewPrivs:\t1" in status
    assert "Max core file size        0                    0" in limits


def test_memory_beyond_the_bound_is_an_error_and_no_death():
    found = told(
        "import numpy\n"
        "impose(Bounds(memory_bytes=100 * 2**20))\n"
        "fits = numpy.ones(90 * 2**20, numpy.uint8).sum()\n"
        "try:\n    numpy.ones(4 * 2**30, numpy.uint8)\n"
        "except MemoryError as error:\n    problem = overstepped(error).as_problem()\n"
        "print(json.dumps({'fits': int(fits), **problem}))"
    )
    assert found["fits"] == 90 * MIB
    assert (found["status"], found["code"]) == (422, "over_memory")


def test_torch_says_it_in_its_own_words():
    found = told(
        "import torch\nimpose(Bounds(memory_bytes=2**20))\n"
        "try:\n    torch.empty(4 * 2**30, dtype=torch.uint8)\n"
        "except RuntimeError as error:\n    problem = overstepped(error).as_problem()\n"
        "print(json.dumps(problem))"
    )
    assert found["code"] == "over_memory"


def test_an_accelerator_s_memory_is_not_the_machine_s():
    found = told(
        "import torch\n"
        "try:\n    raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')\n"
        "except RuntimeError as error:\n    problem = overstepped(error).as_problem()\n"
        "print(json.dumps(problem))"
    )
    assert (found["status"], found["code"]) == (422, "over_accelerator_memory")
    assert "batch_size" in found["detail"]


def test_a_file_beyond_the_bound_is_an_error_and_no_death(tmp_path):
    found = told(
        f"impose(Bounds(file_bytes={MIB}))\n"
        f"descriptor = os.open({str(tmp_path / 'a')!r}, os.O_CREAT | os.O_WRONLY)\n"
        "try:\n    [os.write(descriptor, bytes(2**16)) for _ in range(100)]\n"
        "except OSError as error:\n    problem = overstepped(error).as_problem()\n"
        "print(json.dumps(problem))"
    )
    assert (found["status"], found["code"]) == (413, "over_file_size")
    assert (tmp_path / "a").stat().st_size == MIB


def test_used_memory_is_that_of_the_whole_family():
    code = "held = bytearray(b'x' * (80 * 2**20))\nprint(flush=True)\ninput()"
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {code!r}], stdin=sys.stdin)\n"
        "child.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        used = used_bytes(process.pid)
        watch = MemoryWatch(80 * MIB)
        assert watch.look(process.pid)
        assert not MemoryWatch(300 * MIB).look(process.pid)
        assert not MemoryWatch(0).look(None)
        process.stdin.close()
    assert 80 * MIB < used < 150 * MIB
    assert used_bytes(process.pid) == 0


def test_what_a_container_leaves_of_the_machine(tmp_path):
    whole = machine_bytes(())
    (tmp_path / "a").write_text("max\n")
    (tmp_path / "b").write_text("1073741824\n")
    assert machine_bytes((tmp_path / "a", tmp_path / "none")) == whole > 0
    assert machine_bytes((tmp_path / "a", tmp_path / "b")) == 2**30


class Table:
    """An inspector with little memory to give; `body` makes its trainers fake ones."""

    def __init__(self, settings, database, storage) -> None:
        settings.home.mkdir(parents=True, exist_ok=True)
        self.settings, self.database, self.storage = settings, database, storage
        self.spawner = Spawner()

    def inspected(self, memory_bytes: int, source: dict, body: str | None = None) -> Dataset:
        settings = self.settings.model_copy(update={"process_memory_bytes": memory_bytes})

        def spawn() -> Trainer:
            if body is None:
                return Trainer(self.spawner, trainer_environment(settings.home))
            return fake_trainer(self.spawner, settings.home, body)

        dataset_id = new_id("dst")
        with self.database.transaction() as session:
            spec = {"name": "d", "source": source}
            row = Dataset(id=dataset_id, project_id=DEFAULT_PROJECT, name="d", spec=spec)
            session.add(row)
        Inspector(
            verdicts=Verdicts(self.database),
            storage=self.storage,
            standby=Standby(spawn, size=0),
            settings=settings,
            shutdown=threading.Event(),
        ).dataset(dataset_id)
        with self.database.reading() as session:
            return session.get_one(Dataset, dataset_id)


@pytest.fixture
def table(settings, database, storage):
    table = Table(settings, database, storage)
    yield table
    table.spawner.close()


def test_an_inspection_that_hogs_memory_is_ended(table):
    digits = {"kind": "builtin", "name": "digits"}
    row = table.inspected(200 * MIB, digits, HOG.format(mib=2000))
    assert (row.state, row.error["code"]) == ("rejected", "over_memory")
    assert row.error["status"] == 422


def test_an_honest_file_that_takes_too_much_is_refused(table):
    """The real trainer: its own libraries run into the bound, or the watch sees them."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.zeros((40_000, 10_000), np.uint8), y=np.arange(40_000) % 10)
    with table.storage.writer() as writer:
        writer.write(buffer.getvalue())
        sha256, size = writer.commit()
    file_id = add_file(table.database, "a.npz", sha256, size)
    row = table.inspected(500 * MIB, {"kind": "file", "file": file_id})
    assert row.state == "rejected"
    assert row.error["code"] in ("over_memory", "dataset_too_large", "decompression_bomb")
