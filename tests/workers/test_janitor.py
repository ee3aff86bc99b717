"""What nobody needs goes, and nothing else; both databases."""

import os
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import delete, select

from app import blobs, tallies
from app.db import now_plus
from app.files import repository as files
from app.tables import (
    DEFAULT_PROJECT,
    Blob,
    Dataset,
    File,
    IdempotencyKey,
    Job,
    KnowledgeReport,
    Tally,
)
from app.tenancy import TenantDatabase
from tests.workers.rows import add_dataset, add_file, add_job, set_job
from workers.blobcache import BlobCache
from workers.janitor import Janitor
from workers.shelf import Made, put

OLD = 90_000


def make(database, storage, settings, **values):
    graces = {"grace_s": 0, "stray_grace_s": 3600, "walk_s": 0, **values}
    cache = BlobCache(storage, settings.home, 0)
    return Janitor(database=database, storage=storage, cache=cache, home=settings.home, **graces)


@pytest.fixture
def janitor(settings, database, storage):
    return make(database, storage, settings)


def store(storage, content: bytes) -> tuple[str, int]:
    with storage.writer() as writer:
        writer.write(content)
        return writer.commit()


def forget(database, file_id: str) -> None:
    with database.transaction() as session:
        session.execute(delete(File).where(File.id == file_id))


def age(storage, sha256: str) -> None:
    os.utime(storage.path(sha256), (time.time() - OLD,) * 2)


def known(database) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(Blob.sha256)))


def test_bytes_go_with_their_last_reference(janitor, database, storage):
    sha256, size = store(storage, b"weights")
    one, other = (add_file(database, "w", sha256, size) for _ in range(2))
    forget(database, one)
    janitor.clean()
    assert storage.exists(sha256)
    forget(database, other)
    janitor.clean()
    assert not storage.exists(sha256)
    assert sha256 not in known(database)
    store(storage, b"weights")
    add_file(database, "w", sha256, size)
    janitor.clean()
    assert storage.exists(sha256)


def test_datasets_and_artifacts_refer_too(janitor, database, storage):
    prepared, _ = store(storage, b"prepared")
    student, size = store(storage, b"student")
    job_id = add_job(database, add_dataset(database, sha256=prepared))
    with database.transaction() as session:
        made = Made("student.safetensors", "student", "safetensors", student, size)
        put(session, job_id, 1, made, storage.exists)
    janitor.clean()
    assert storage.exists(prepared)
    assert storage.exists(student)
    with database.transaction() as session:
        session.execute(delete(Job))
    janitor.clean()
    assert storage.exists(prepared)
    assert not storage.exists(student)


def test_reports_refer_too_and_go_with_their_dataset(janitor, database, storage):
    prepared, _ = store(storage, b"prepared")
    report, size = store(storage, b"report")
    dataset = add_dataset(database, sha256=prepared)
    with database.transaction() as session:
        blobs.note(session, report, size)
        session.add(
            KnowledgeReport(
                id="rep_1",
                project_id=DEFAULT_PROJECT,
                subject=dataset,
                dataset_id=dataset,
                key="k",
                state="ready",
                sha256=report,
            )
        )
    janitor.clean()
    assert storage.exists(report)
    with database.transaction() as session:
        session.execute(delete(Dataset).where(Dataset.id == dataset))
    janitor.clean()
    assert not storage.exists(report)


def test_the_grace_begins_with_the_last_reference(settings, database, storage):
    patient = make(database, storage, settings, grace_s=60)
    sha256, size = store(storage, b"weights")
    forget(database, add_file(database, "w", sha256, size))
    with database.transaction() as session:
        session.get_one(Blob, sha256).created_at = now_plus(-OLD)
    patient.clean()
    patient.clean()
    assert storage.exists(sha256)
    with database.transaction() as session:
        session.get_one(Blob, sha256).orphaned_at = now_plus(-61)
    again = add_file(database, "w", sha256, size)
    patient.clean()
    assert storage.exists(sha256), "somebody has wanted it again"
    forget(database, again)
    patient.clean()
    assert storage.exists(sha256), "and the grace began again"


def test_bytes_that_went_meanwhile_are_noticed(database, storage):
    sha256, size = store(storage, b"weights")
    storage.delete(sha256)
    tenant = TenantDatabase(database, DEFAULT_PROJECT)
    with pytest.raises(blobs.BytesGone), tenant.transaction() as session:
        files.add(session, "w", sha256, size, storage)
    assert known(database) == set()


def test_the_same_bytes_come_and_go(janitor, database, storage):
    """Uploads and deletions against a janitor without patience: no row is left without bytes."""
    tenant = TenantDatabase(database, DEFAULT_PROJECT)
    stop = threading.Event()
    removed = []

    def clean() -> None:
        while not stop.is_set():
            blobs.mark_orphans(database)
            removed.extend(blobs.remove_orphans(database, storage, grace_s=0))

    thread = threading.Thread(target=clean)
    thread.start()
    again = 0
    try:
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            sha256, size = store(storage, b"weights")
            try:
                with tenant.transaction() as session:
                    file = files.add(session, "w", sha256, size, storage)
            except blobs.BytesGone:
                again += 1
                continue
            assert storage.exists(sha256)
            forget(database, file.id)
    finally:
        stop.set()
        thread.join()
    assert removed, again


def test_bytes_that_no_row_knows(settings, database, storage):
    """As a crash between storage and row leaves them."""
    janitor = make(database, storage, settings, grace_s=60)
    known_too, size = store(storage, b"known")
    add_file(database, "w", known_too, size)
    stray, young = (store(storage, content)[0] for content in (b"stray", b"young"))
    for sha256 in (stray, known_too):
        age(storage, sha256)
    (storage.path(stray).parent / "not-a-hash").touch()
    janitor.clean()
    assert known(database) == {known_too, stray}
    assert all(storage.exists(sha256) for sha256 in (known_too, stray, young)), "the grace runs"
    with database.transaction() as session:
        session.get_one(Blob, stray).orphaned_at = now_plus(-61)
    janitor.clean()
    assert not storage.exists(stray)
    assert known(database) == {known_too}
    assert storage.exists(known_too)
    assert storage.exists(young)
    with database.reading() as session:
        assert tallies.all_of_them(session)["removed"].value == 1


def test_a_stray_that_is_wanted_after_all(settings, database, storage):
    janitor = make(database, storage, settings, grace_s=60)
    sha256, size = store(storage, b"stray")
    age(storage, sha256)
    assert store(storage, b"stray") == (sha256, size)
    janitor.clean()
    assert known(database) == set(), "stored again, it is young again"
    age(storage, sha256)
    janitor.clean()
    assert known(database) == {sha256}
    add_file(database, "w", sha256, size)
    janitor.clean()
    with database.reading() as session:
        assert session.get_one(Blob, sha256).orphaned_at is None


def test_one_worker_walks_at_a_time(settings, database, storage):
    """Of many that clean together one walks, until it is time again."""
    janitors = [make(database, storage, settings, walk_s=3600) for _ in range(8)]
    threads = [threading.Thread(target=janitor.clean) for janitor in janitors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as session:
        assert tallies.all_of_them(session)["walks"].value == 1
    with database.transaction() as session:
        session.get_one(Tally, "walks").counted_at = now_plus(-3601)
    janitors[0].clean()
    with database.reading() as session:
        assert tallies.all_of_them(session)["walks"].value == 2


def test_run_folders(janitor, database, settings):
    held, ended = add_job(database), add_job(database)
    set_job(database, held, state="running", token=2)
    set_job(database, ended, state="succeeded", token=1)
    runs = settings.home / "runs"
    for job_id, token in ((held, 1), (held, 2), (ended, 1), ("job_gone", 1)):
        (runs / job_id / str(token) / "out").mkdir(parents=True)
    (runs / "dst_1-young").mkdir()
    (runs / "dst_1-old").mkdir()
    os.utime(runs / "dst_1-old", (time.time() - OLD,) * 2)
    janitor.clean()
    left = sorted(str(path.relative_to(runs)) for path in runs.rglob("*"))
    assert left == sorted(
        [
            "dst_1-young",
            held,
            f"{held}/2",
            f"{held}/2/out",
        ]
    )


def test_what_a_killed_writer_left(janitor, storage):
    """Its lock went with it, which a live one still has: both were last written a while ago."""
    code = (
        "import sys, os; from pathlib import Path; from app.storage import DirectoryStorage;"
        "writer = DirectoryStorage(Path(sys.argv[1])).writer(); writer.write(b'half');"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, storage.root], check=False)
    (left,) = (storage.root / "incoming").iterdir()
    janitor.clean()
    assert left.exists(), "not at once: a file has its name before its lock"
    with storage.writer() as writer:
        writer.write(b"slowly")
        for path in (left, writer._path):
            os.utime(path, (time.time() - 100,) * 2)
        janitor.clean()
        assert list((storage.root / "incoming").iterdir()) == [writer._path]


def test_abandoned_uploads_and_old_keys(janitor, database, storage):
    writers = [storage.writer() for _ in range(2)]
    os.utime(writers[0]._path, (time.time() - OLD,) * 2)
    with database.transaction() as session:
        for key, age in (("young", 0), ("old", OLD)):
            session.add(
                IdempotencyKey(
                    project_id=DEFAULT_PROJECT,
                    key=key,
                    operation="o",
                    request_sha256="0",
                    created_at=now_plus(-age),
                )
            )
    janitor.clean()
    assert [writer._path.exists() for writer in writers] == [False, True]
    with database.reading() as session:
        assert list(session.scalars(select(IdempotencyKey.key))) == ["young"]
    for writer in writers:
        writer.abort()
