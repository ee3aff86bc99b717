"""A format that was asked for, made by a real trainer; both databases."""

import json
import threading

import onnx
import pytest
from sqlalchemy import delete, select, update

from app.db import now_plus
from app.spec.networks import MLP
from app.tables import Artifact, Export, Job
from tests.workers.rows import add_dataset, add_job, set_job
from workers.exporter import Exporter
from workers.exports import Exports
from workers.networks import build
from workers.networks.store import save_network
from workers.processes import Spawner, Trainer, trainer_environment
from workers.shelf import Made, put
from workers.standby import Standby

NETWORK = {"family": "mlp", "inputs": 4, "hidden": [3], "classes": 2}
ABOUT = {
    "preprocess": {"scale": 1.0, "mean": [0.0], "std": [1.0]},
    "class_names": None,
    "input": {"shape": [4], "dtype": "float32"},
}
GIVEN = {"student.safetensors", "network.json"}


@pytest.fixture
def exporter(settings, database, storage):
    settings.home.mkdir(parents=True, exist_ok=True)
    spawner = Spawner()
    environment = trainer_environment(settings.home)
    standby = Standby(lambda: Trainer(spawner, environment), size=1)
    yield Exporter(
        exports=Exports(database),
        storage=storage,
        standby=standby,
        settings=settings,
        shutdown=threading.Event(),
    )
    standby.close()
    spawner.close()


@pytest.fixture
def finished(database, storage, tmp_path):
    """A job with a student."""
    job_id = add_job(database, add_dataset(database))
    set_job(database, job_id, state="succeeded", token=1)
    save_network(build(MLP.model_validate(NETWORK), seed=0), tmp_path / "student")
    sha256, size = storage.put_file(tmp_path / "student")
    (tmp_path / "about").write_text(json.dumps({**NETWORK, **ABOUT}))
    about, length = storage.put_file(tmp_path / "about")
    with database.transaction() as session:
        for made in (
            Made("student.safetensors", "student", "safetensors", sha256, size),
            Made("network.json", "network", "json", about, length),
        ):
            put(session, job_id, 1, made, storage.exists)
    return job_id


def ask(database, job_id: str, *formats: str) -> None:
    with database.transaction() as session:
        session.add_all([Export(job_id=job_id, format=one) for one in formats])


def artifacts(database, job_id: str) -> dict[str, Artifact]:
    with database.reading() as session:
        rows = session.scalars(select(Artifact).where(Artifact.job_id == job_id))
        return {row.name: row for row in rows}


def wanted(database) -> dict[str, dict | None]:
    with database.reading() as session:
        return {row.format: row.error for row in session.scalars(select(Export))}


def test_every_format_that_is_wanted_becomes_an_artifact(exporter, database, storage, finished):
    ask(database, finished, "onnx", "pt2")
    exporter.export(finished)
    made = artifacts(database, finished)
    assert made.keys() == {*GIVEN, "student.onnx", "student.pt2"}
    assert {made[f"student.{one}"].format for one in ("onnx", "pt2")} == {"onnx", "pt2"}
    onnx.checker.check_model(onnx.load(storage.path(made["student.onnx"].sha256)))
    assert wanted(database) == {}
    exporter.export(finished)  # a bell may ring twice


def test_one_that_cannot_be_made_says_why_and_the_job_stays(exporter, database, finished):
    with database.transaction() as session:
        spec = session.get_one(Job, finished).spec
        other = {**spec, "student": {"network": {**NETWORK, "hidden": [5]}, "file": None}}
        session.execute(update(Job).where(Job.id == finished).values(spec=other))
    ask(database, finished, "onnx")
    exporter.export(finished)
    error = wanted(database)["onnx"]
    assert error is not None
    assert error["detail"]
    assert artifacts(database, finished).keys() == GIVEN
    with database.reading() as session:
        assert session.get_one(Job, finished).state == "succeeded"


def test_what_is_not_wanted_any_more_is_not_kept(exporter, database, finished):
    case_before = Exports(database)
    ask(database, finished, "pt2")
    case = case_before.case(finished)
    assert case is not None
    with database.transaction() as session:
        session.execute(delete(Job).where(Job.id == finished))
    assert wanted(database) == {}, "gone with its job"
    made = Made("student.pt2", "student", "pt2", case.weights, 1)
    case_before.made(case, made, stored=lambda _: True)
    assert artifacts(database, finished) == {}
    exporter.export(finished)


def test_a_lost_bell_is_rung_again(database, finished):
    exports = Exports(database)
    ask(database, finished, "onnx", "pt2")
    assert exports.waiting(for_s=30) == []
    with database.transaction() as session:
        session.execute(update(Export).values(created_at=now_plus(-31)))
    assert exports.waiting(for_s=30) == [finished]
    case = exports.case(finished)
    assert case is not None
    for one in case.formats:
        exports.failed(case, one, {"code": "x", "detail": "y"})
    assert exports.waiting(for_s=30) == []
    assert exports.case(finished) is None
