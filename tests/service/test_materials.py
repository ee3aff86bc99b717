"""What a process remembers of the teachers and datasets that jobs name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import Unprocessable
from app.ids import new_id
from app.jobs import materials, repository
from app.jobs.materials import gather, recall
from app.spec.job import JobSpec
from app.storage import DirectoryStorage
from app.tables import DEFAULT_PROJECT, Dataset, Job, JobLabel, Teacher
from app.tenancy import TenantDatabase
from tests.api.helpers import MLP, Rows, job_body

OURS, THEIRS = "prj_a", "prj_b"


@contextmanager
def selects(database: Database) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    sent: list[str] = []

    def note(*of: object) -> None:
        sent.append(str(of[2]))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    yield sent
    sa.event.remove(database.engine, "before_cursor_execute", note)


def test_it_is_read_once(database: Database, storage: DirectoryStorage) -> None:
    spec = JobSpec.model_validate(job_body(Rows(database, storage)))
    ours = TenantDatabase(database, DEFAULT_PROJECT)
    with ours.transaction() as session:
        first = recall(session, spec)
        assert first.facts == gather(session, spec).facts
    with selects(database) as sent, ours.transaction() as session:
        assert recall(session, spec) is first
        assert sent == []


def test_each_project_has_its_own(database: Database, storage: DirectoryStorage) -> None:
    spec = JobSpec.model_validate(job_body(Rows(database, storage, OURS)))
    with TenantDatabase(database, OURS).transaction() as session:
        recall(session, spec)
    with (
        TenantDatabase(database, THEIRS).transaction() as session,
        pytest.raises(Unprocessable, match="There is no dataset"),
    ):
        recall(session, spec)


def test_it_outlives_a_transaction_that_failed(
    database: Database, storage: DirectoryStorage
) -> None:
    spec = JobSpec.model_validate(job_body(Rows(database, storage)))
    ours = TenantDatabase(database, DEFAULT_PROJECT)

    def fail(session: Session) -> None:
        recall(session, spec)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), ours.transaction() as session:
        fail(session)
    with ours.transaction() as session:
        assert recall(session, spec).teachers[0].network == MLP


def test_what_is_not_ready_is_not_remembered(database: Database, storage: DirectoryStorage) -> None:
    rows = Rows(database, storage)
    body = job_body(rows)
    spec = JobSpec.model_validate({**body, "dataset": rows.dataset(state="rejected")})
    ours = TenantDatabase(database, DEFAULT_PROJECT)
    for _ in range(2):
        with ours.transaction() as session, pytest.raises(Unprocessable, match="was rejected"):
            recall(session, spec)


def test_so_many_and_no_more(
    database: Database, storage: DirectoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(materials, "REMEMBERED", 2)
    rows = Rows(database, storage)
    ours = TenantDatabase(database, DEFAULT_PROJECT)
    for _ in range(5):
        spec = JobSpec.model_validate(job_body(rows))
        with ours.transaction() as session:
            recall(session, spec)
            assert len(materials._remembered[session.get_bind()]) <= 2


@pytest.mark.parametrize("table", [Dataset, Teacher])
def test_what_a_job_names_is_kept_while_it_is_written(
    database: Database, storage: DirectoryStorage, table: Any
) -> None:
    spec = job_body(Rows(database, storage))
    job = Job(id=new_id("job"), name="j", spec=spec, labels={}, progress={})
    # SQLite has one writer, so that all of it is kept from everybody else.
    patience = {"sqlite": {"timeout": 0.2}, "postgresql": {"options": "-c lock_timeout=200"}}
    url, dialect = database.engine.url, database.engine.dialect.name
    impatient = sa.create_engine(url, connect_args=patience[dialect], poolclass=sa.NullPool)
    removal = sa.delete(table).where(table.id.in_([spec["dataset"], *spec["teachers"]]))
    with TenantDatabase(database, DEFAULT_PROJECT).transaction() as session:
        assert repository.add(session, job)
        with impatient.begin() as other, pytest.raises(OperationalError, match="lock"):
            other.execute(removal)
    with database.engine.begin() as other:
        assert other.execute(removal).rowcount == 1


@pytest.mark.parametrize("missing", ["dataset", "teachers"])
def test_a_job_without_its_material_is_not_written(
    database: Database, storage: DirectoryStorage, missing: str
) -> None:
    spec = job_body(Rows(database, storage))
    spec |= {"dataset": "dst_0"} if missing == "dataset" else {"teachers": [*spec["teachers"], "0"]}
    job = Job(id=new_id("job"), name="j", spec=spec, labels={"a": "b"}, progress={})
    with TenantDatabase(database, DEFAULT_PROJECT).transaction() as session:
        assert not repository.add(session, job)
    with database.reading() as session:
        assert session.get(Job, job.id) is None


def test_a_written_job_is_as_the_orm_would_read_it(
    database: Database, storage: DirectoryStorage
) -> None:
    spec = job_body(Rows(database, storage))
    job = Job(id=new_id("job"), name="j", spec=spec, labels={"a": "b"}, progress={"step": 0})
    columns = [column.name for column in Job.__table__.columns]
    with TenantDatabase(database, DEFAULT_PROJECT).transaction() as session:
        assert repository.add(session, job)
        with selects(database) as sent:
            made = {name: getattr(job, name) for name in columns}
        assert sent == [], "nothing of it is read again"
        job.progress = {"step": 1}
    with database.reading() as session:
        kept = session.get_one(Job, job.id)
        assert {name: getattr(kept, name) for name in columns} == made | {"progress": {"step": 1}}
        assert (kept.state, kept.token, kept.seq) == ("queued", 0, 1)
        assert session.scalars(sa.select(JobLabel.value)).all() == ["b"]
