"""The whole path below the API, with the real trainer: from a builtin data set to a student."""

import os
import signal
import threading
import time

import psutil
import pytest
from sqlalchemy import select

from app.ids import new_id
from app.tables import DEFAULT_PROJECT, Artifact, Dataset, MetricPoint
from tests.workers.rows import add_job, job
from workers.inspection import Inspector
from workers.ledger import Ledger
from workers.processes import Spawner, Trainer, trainer_environment
from workers.standby import Standby
from workers.supervisor import Supervisor
from workers.verdicts import Verdicts

EPOCHS = 100


class Silent:
    """Nobody needs to be rung for: the test rings itself."""

    def run_job(self, job_id: str, priority: str) -> None: ...


@pytest.fixture
def worker(settings, database, storage):
    settings = settings.model_copy(update={"checkpoint_every_s": 0.2, "threads": 1})
    settings.home.mkdir(parents=True, exist_ok=True)
    spawner = Spawner()
    environment = trainer_environment(settings.home)
    standby = Standby(lambda: Trainer(spawner, environment), size=1)
    standby.fill()
    shutdown = threading.Event()
    inspector = Inspector(
        verdicts=Verdicts(database),
        storage=storage,
        standby=standby,
        settings=settings,
        shutdown=shutdown,
    )
    supervisor = Supervisor(
        ledger=Ledger(database, lease_s=60, max_attempts=3),
        storage=storage,
        standby=standby,
        doorbell=Silent(),  # type: ignore[arg-type]
        settings=settings,
        worker="w",
        shutdown=shutdown,
    )
    yield inspector, supervisor
    standby.close()
    spawner.close()


def test_a_killed_training_goes_on_and_ends_in_the_same_student(worker, database):
    inspector, supervisor = worker
    dataset_id = new_id("dst")
    source = {"kind": "builtin", "name": "digits"}
    with database.transaction() as session:
        session.add(
            Dataset(
                id=dataset_id,
                project_id=DEFAULT_PROJECT,
                name="d",
                spec={"name": "d", "source": source},
            )
        )
    inspector.dataset(dataset_id)
    spec = {
        "student": {
            "network": {
                "family": "mlp",
                "inputs": 64,
                "hidden": [64],
                "classes": 10,
                "dropout": 0.2,
            }
        },
        "training": {"batch_size": 64, "epochs": EPOCHS, "log_every": 7},
    }

    calm = add_job(database, dataset_id, **spec)
    supervisor.attempt(calm)
    assert job(database, calm).state == "succeeded", job(database, calm).error

    killed = add_job(database, dataset_id, **spec)
    thread = threading.Thread(target=supervisor.attempt, args=(killed,))
    thread.start()
    while not artifacts(database, killed):  # its first checkpoint
        assert thread.is_alive()
        time.sleep(0.005)
    busiest = max(psutil.Process().children(), key=lambda child: sum(child.cpu_times()[:2]))
    os.kill(busiest.pid, signal.SIGKILL)
    thread.join(30)
    assert job(database, killed).state == "queued"
    supervisor.attempt(killed)
    row = job(database, killed)
    assert (row.state, row.attempt) == ("succeeded", 2), row.error

    # The curves too, though the second trainer has measured only a part of them.
    for name in ("student.safetensors", "curves.svg"):
        assert artifacts(database, killed)[name] == artifacts(database, calm)[name]
    assert row.progress["fraction"] == 1
    with database.reading() as session:
        series = session.execute(
            select(MetricPoint.series_id, MetricPoint.step).order_by(MetricPoint.step)
        ).all()
    curves: dict[int, list[int]] = {}
    for series_id, step in series:
        curves.setdefault(series_id, []).append(step)
    lengths = sorted(len(curve) for curve in curves.values())
    assert len(curves) % 2 == 0
    assert lengths[::2] == lengths[1::2], "each curve of one job is as long as the other job's"


def artifacts(database, job_id: str) -> dict[str, str]:
    with database.reading() as session:
        rows = session.scalars(select(Artifact).where(Artifact.job_id == job_id))
        return {row.name: row.sha256 for row in rows}
