"""The whole main job through the SDK, blocking and asynchronous."""

import hashlib
from pathlib import Path

import anyio
import pytest
from safetensors.numpy import load_file

from stillhouse import AsyncStillhouse, Job, Stillhouse, Teacher, errors
from stillhouse.updates import DoneUpdate, MetricsUpdate, ProgressUpdate
from tests.acceptance.conftest import mlp
from tests.client.conftest import KEY


def test_a_job_is_waited_for_read_and_downloaded(still: Stillhouse, job: Job, folder: Path) -> None:
    assert job.state == "succeeded"
    assert job.spec["method"]["alpha"] == 0.9

    metrics = job.metrics(["train/loss", "validation/accuracy"])
    assert metrics.keys() == ["train/loss", "validation/accuracy"]
    assert len(metrics["validation/accuracy"].y) == 5
    frame = metrics.to_pandas()
    assert list(frame.columns) == metrics.keys()
    assert frame["validation/accuracy"].dropna().tolist() == metrics["validation/accuracy"].y
    assert frame.index.name == "step"

    report = job.report()
    assert report["verdict"] in ("helped", "hurt", "not distinguishable")

    done: list[tuple[int, int]] = []
    path = job.download(progress=lambda *so_far: done.append(so_far))
    assert path == Path("student.safetensors")
    assert load_file(path)["layers.0.weight"].shape == (12, 64)
    (artifact,) = [it for it in job.artifacts() if it.name == "student.safetensors"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == artifact.sha256
    assert done[-1] == (artifact.size, artifact.size)
    assert job.download_artifact("network.json").read_text().startswith("{")
    assert {it.name for it in folder.iterdir()} == {"student.safetensors", "network.json"}


@pytest.mark.slow
def test_formats_are_waited_for_until_they_are_made(job: Job, folder: Path) -> None:
    assert job.download(format="bundle").read_bytes()[:2] == b"PK"
    path = job.download(format="onnx")
    (artifact,) = [it for it in job.artifacts() if it.name == "student.onnx"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == artifact.sha256


def test_a_teacher_tells_what_it_knows(digits: str, teacher: Teacher) -> None:
    told = teacher.report(digits, parameters=500).wait(60)
    assert (told.state, told.teacher, told.dataset) == ("ready", teacher.id, digits)
    assert told.advice is not None
    assert told.advice.parameters == 500
    small = told.advice.temperatures
    large = teacher.report(digits, parameters=5000).wait().advice
    assert large is not None
    assert large.temperatures > small
    # Asking again keeps the question.
    assert told.refresh().advice == told.advice
    with pytest.raises(errors.Problem) as refused:
        teacher.report("dst_none")
    assert refused.value.code == "unknown_dataset"


def test_recorded_outputs_tell_what_they_know(still: Stillhouse, digits: str) -> None:
    with pytest.raises(errors.Problem) as refused:
        still.datasets.get(digits).report()
    assert refused.value.code == "no_teacher_outputs"


def test_every_point_can_be_exported(job: Job, folder: Path) -> None:
    text = job.export_metrics("curves.csv", keys=["validation/accuracy"]).read_text()
    assert len(text.splitlines()) == 1 + 5
    assert job.export_metrics("curves.parquet").read_bytes()[:4] == b"PAR1"


def test_a_job_is_followed_to_its_end(still: Stillhouse, digits: str, teacher: Teacher) -> None:
    job = still.jobs.create(
        teachers=[teacher.id],
        dataset=digits,
        student={"network": mlp(8)},
        training={"epochs": 3},
        baseline=None,
    )
    told = list(job.stream())
    points = [one for it in told if isinstance(it, MetricsUpdate) for one in it.series]
    accuracy = [y for one in points if one.key == "validation/accuracy" for y in one.value]
    assert accuracy == job.metrics(["validation/accuracy"])["validation/accuracy"].y
    assert any(isinstance(it, ProgressUpdate) for it in told)
    assert [type(it) for it in told].count(DoneUpdate) == 1
    assert isinstance(told[-1], DoneUpdate)
    assert told[-1].job.state == job.state == "succeeded"


def test_jobs_are_steered(still: Stillhouse, digits: str, teacher: Teacher) -> None:
    long = still.jobs.create(
        name="long",
        teachers=[teacher.id],
        dataset=digits,
        student={"network": mlp(8)},
        training={"epochs": 5000},
        labels={"length": "long"},
    )
    assert [it.id for it in still.jobs.list(labels={"length": "long"})] == [long.id]
    assert long.pause().state in ("pausing", "paused")
    long._until(lambda it: it.state == "paused", 60)
    assert long.resume().state == "queued"
    other = long.clone(overrides={"name": "short", "training": {"epochs": 2}})
    assert (other.name, other.spec["training"]["epochs"]) == ("short", 2)
    long.cancel()
    with pytest.raises(errors.JobFailed, match="was cancelled") as caught:
        long.wait(60)
    assert caught.value.state == "cancelled"
    assert next(long.events()).to_state == "cancelled"
    long.delete()
    with pytest.raises(errors.NotFound):
        still.jobs.get(long.id)
    other.wait(120)


def test_lists_go_on_over_their_pages(still: Stillhouse, job: Job) -> None:
    pages = [it.id for it in still.jobs.list(page_size=1)]
    assert len(pages) >= 2
    assert pages == [it.id for it in still.jobs.list()]


def test_a_job_is_checked_without_being_made(still: Stillhouse, job: Job) -> None:
    before = [it.id for it in still.jobs.list()]
    checked = still.jobs.validate(**job.spec)
    assert checked.spec["training"]["epochs"] == 5
    assert checked.estimate.memory_bytes > 0
    assert [it.id for it in still.jobs.list()] == before


def test_files_go_there_and_back(still: Stillhouse, folder: Path) -> None:
    content = bytes(range(256)) * 5000
    Path("größe.bin").write_bytes(content)
    done: list[tuple[int, int]] = []
    file = still.files.upload("größe.bin", progress=lambda *so_far: done.append(so_far))
    assert (file.filename, file.size) == ("größe.bin", len(content))
    assert done[-1] == (len(content), len(content))
    assert still.files.get(file.id).download("again.bin").read_bytes() == content


def test_the_asynchronous_client_does_the_same(url: str, job: Job, folder: Path) -> None:
    async def main() -> None:
        async with AsyncStillhouse(url, KEY) as still:
            mine = await still.jobs.get(job.id)
            again = await mine.clone(overrides={"training": {"epochs": 2}, "baseline": None})
            told = [update async for update in again.stream()]
            assert isinstance(told[-1], DoneUpdate)
            await again.wait(60)
            assert "train/loss" in await again.metrics()
            path = await mine.download("other.safetensors")
            assert load_file(path)["layers.0.weight"].shape == (12, 64)
            file = await still.files.upload(b"abc", name="abc.bin")
            assert file.size == 3
            assert (await anext(still.jobs.list())).id == again.id
            with pytest.raises(errors.NotFound):
                await still.teachers.get("tch_none")

    anyio.run(main)


def test_what_the_service_tells_of_itself(still: Stillhouse) -> None:
    assert "kd" in [method.name for method in still.methods()]
    assert "mlp" in [network.family for network in still.networks()]
    assert still.ready()["status"] == "ready"
