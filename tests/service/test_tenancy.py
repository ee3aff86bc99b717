"""A project's session, whatever the statement."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from app.db import KEPT, Database
from app.tables import DEFAULT_PROJECT, Dataset, Job, JobLabel, Owned, Row
from app.tenancy import TenantDatabase, WrongProject

OURS, THEIRS = "prj_a", "prj_b"
OTHER = aliased(Job)

STATEMENTS: dict[str, Callable[[Session], Any]] = {
    "get": lambda session: session.get(Job, "job_1"),
    "get and lock": lambda session: session.get(Job, "job_1", with_for_update=dict(KEPT)),
    "entity": lambda session: session.scalars(sa.select(Job)).all(),
    "columns": lambda session: session.execute(sa.select(Job.id, Job.name)).all(),
    "alias": lambda session: session.scalars(sa.select(OTHER.id)).all(),
    "join": lambda session: session.scalars(sa.select(JobLabel.key).join(Job)).all(),
    "subquery": lambda session: session.scalars(
        sa.select(JobLabel.key).where(JobLabel.job_id.in_(sa.select(Job.id)))
    ).all(),
    "exists": lambda session: session.scalar(sa.select(sa.exists().where(Job.id == "job_1"))),
    "count": lambda session: session.scalar(sa.select(sa.func.count()).select_from(Job)),
    "union": lambda session: session.execute(
        sa.union(sa.select(Job.id), sa.select(OTHER.id))
    ).all(),
    "update": lambda session: session.execute(sa.update(Job).values(name="x")).rowcount,
    "delete": lambda session: session.execute(sa.delete(Job)).rowcount,
}


@pytest.fixture
def ours(database: Database) -> TenantDatabase:
    """Its job is there, with a label."""
    tenant = TenantDatabase(database, OURS)
    with tenant.transaction() as session:
        session.add(Job(id="job_1", name="j", spec={}, progress={}))
        session.flush()
        session.add(JobLabel(job_id="job_1", key="team", value="a"))
    return tenant


@pytest.mark.parametrize("name", STATEMENTS)
def test_only_its_own_rows_are_there(ours: TenantDatabase, database: Database, name: str) -> None:
    ask = STATEMENTS[name]
    for tenant, expected in ((TenantDatabase(database, THEIRS), False), (ours, True)):
        with tenant.transaction() as session:
            assert bool(ask(session)) is expected
    with database.reading() as session:
        assert (session.get(Job, "job_1") is None) == (name == "delete")


def test_rows_are_given_to_the_project(ours: TenantDatabase, database: Database) -> None:
    with database.reading() as session:
        assert session.get_one(Job, "job_1").project_id == OURS


def test_nothing_is_made_in_another_name(ours: TenantDatabase) -> None:
    with pytest.raises(WrongProject), ours.transaction() as session:
        session.add(Dataset(id="dst_1", name="d", spec={}, project_id=THEIRS))


def test_without_a_project_nothing_is_made(database: Database) -> None:
    with pytest.raises(IntegrityError), database.transaction() as session:
        session.add(Dataset(id="dst_1", name="d", spec={}))


def test_every_table_with_a_project_is_kept_apart() -> None:
    for mapper in Row.registry.mappers:
        assert ("project_id" in mapper.columns) == issubclass(mapper.class_, Owned)


def test_the_default_project_is_there(database: Database) -> None:
    with database.reading() as session:
        found = session.scalars(sa.text("SELECT id FROM projects")).all()
    assert found == [DEFAULT_PROJECT]
