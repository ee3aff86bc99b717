"""Whose rows a request may touch: the one place that keeps projects apart.

A session of a `TenantDatabase` sees, changes and deletes rows of its own project alone, whatever
the statement, and gives that project to every row that it makes. Endpoints get no other database
unless they ask for it by another name (`WholeDatabaseDep`), and workers, who serve all projects,
never have this one.
"""

from functools import lru_cache
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria
from sqlalchemy.orm.util import LoaderCriteriaOption

from app.db import Database
from app.tables import Owned


class TenantSession(Session):
    """A session of the project that its `info` names."""


class WrongProject(Exception):
    """A row of one project was about to be written in the name of another."""


class TenantDatabase(Database):
    """A database as one project sees it, over the same connections."""

    def __init__(self, whole: Database, project_id: str) -> None:
        self.engine = whole.engine
        self._reader = whole._reader
        self.project_id = project_id

    def _session(self, engine: Engine) -> Session:
        info = {"project_id": self.project_id}
        return TenantSession(engine, expire_on_commit=False, info=info)


def project_of(session: Session) -> str:
    """The project in whose name this session works. Raises KeyError for a worker's session."""
    project_id: str = session.info["project_id"]
    return project_id


@lru_cache(1024)
def _only(project_id: str) -> LoaderCriteriaOption:
    return with_loader_criteria(
        Owned, lambda row: row.project_id == project_id, include_aliases=True
    )


@event.listens_for(TenantSession, "do_orm_execute")
def _narrow(state: ORMExecuteState) -> None:
    """Every SELECT, UPDATE and DELETE that names an owned table, in subqueries too."""
    state.statement = state.statement.options(_only(project_of(state.session)))


@event.listens_for(TenantSession, "before_flush")
def _stamp(session: Session, _context: Any, _instances: Any) -> None:
    project_id = project_of(session)
    for row in session.new:
        if isinstance(row, Owned):
            if row.project_id not in (None, project_id):
                raise WrongProject(f"{row.project_id} is not {project_id}")
            row.project_id = project_id
