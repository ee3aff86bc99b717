"""Whose rows a request may touch: the one place that keeps projects apart.

A session of a `TenantDatabase` sees, changes and deletes rows of its own project alone, whatever
the statement, and gives that project to every row that it makes. Endpoints get no other database
unless they ask for it by another name (`WholeDatabaseDep`), and workers, who serve all projects,
never have this one. A transaction that changes something says so in the audit by itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Engine, event, insert
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria
from sqlalchemy.orm.util import LoaderCriteriaOption

from app.db import Database, before_commit
from app.tables import AuditEntry, Owned

_AUDIT = insert(AuditEntry).inline()


class TenantSession(Session):
    """A session of the project that its `info` names."""


class WrongProject(Exception):
    """A row of one project was about to be written in the name of another."""


@dataclass(frozen=True)
class Deed:
    """What a request does, for the audit."""

    action: str
    """An `operationId`."""
    subject: str | None = None
    """The id that the address names; what is made is named by `made`."""
    key_id: str | None = None
    request_id: str | None = None


class TenantDatabase(Database):
    """A database as one project sees it, over the same connections.

    Transactions that write are a `deed`, if there is one. With `everything` the rows of all
    projects are there: that is for the service's operator. `info` is for the sessions'.
    """

    def __init__(
        self,
        whole: Database,
        project_id: str,
        *,
        deed: Deed | None = None,
        everything: bool = False,
        **info: Any,
    ) -> None:
        self.engine = whole.engine
        self._reader = whole._reader
        self._deed = deed
        self._info = {"project_id": project_id, "everything": everything, **info}

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with super().transaction() as session:
            yield session
            if self._deed is not None and not session.info.get("unchanged"):
                _tell(session, self._deed)

    def _session(self, engine: Engine) -> Session:
        return TenantSession(engine, expire_on_commit=False, info=dict(self._info))


def project_of(session: Session) -> str:
    """The project in whose name this session works. Raises KeyError for a worker's session."""
    project_id: str = session.info["project_id"]
    return project_id


def seen_project(session: Session) -> str | None:
    """The one project whose rows this session sees; null when it sees all."""
    return None if session.info.get("everything", True) else project_of(session)


def made(session: Session, row_id: str) -> None:
    """Names what this transaction makes, for the audit."""
    session.info["made"] = row_id


def unchanged(session: Session) -> None:
    """This transaction does nothing that was not done before."""
    session.info["unchanged"] = True


def _tell(session: Session, deed: Deed) -> None:
    before_commit(
        session,
        _AUDIT,
        {
            "project_id": project_of(session),
            "key_id": deed.key_id,
            "action": deed.action,
            "subject": session.info.get("made", deed.subject),
            "request_id": deed.request_id,
        },
    )


@lru_cache(1024)
def _only(project_id: str) -> LoaderCriteriaOption:
    return with_loader_criteria(
        Owned, lambda row: row.project_id == project_id, include_aliases=True
    )


@event.listens_for(TenantSession, "do_orm_execute")
def _narrow(state: ORMExecuteState) -> None:
    """Every SELECT, UPDATE and DELETE that names an owned table, in subqueries too."""
    only = seen_project(state.session)
    if only is not None:
        state.statement = state.statement.options(_only(only))


@event.listens_for(TenantSession, "before_flush")
def _stamp(session: Session, _context: Any, _instances: Any) -> None:
    project_id = project_of(session)
    for row in session.new:
        if isinstance(row, Owned):
            if row.project_id is None:
                row.project_id = project_id
            elif row.project_id != project_id and seen_project(session) is not None:
                raise WrongProject(f"{row.project_id} is not {project_id}")
