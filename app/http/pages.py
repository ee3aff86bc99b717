"""Lists: newest first, by keyset, with cursors that belong to their filters."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel
from sqlalchemy import Select, tuple_
from sqlalchemy.orm import Session

from app.db import UTCDateTime
from app.http.signing import Signer
from app.projects.caller import caller_of

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A part of a list, newest first."""

    data: list[Item]
    next_cursor: str | None
    """Null on the last page."""


class Pager:
    """One request's place in a list."""

    def __init__(self, signer: Signer, path: str, limit: int, cursor: str | None) -> None:
        self._signer = signer
        self._path = path
        self._limit = limit
        self._cursor = cursor

    def read(
        self,
        session: Session,
        statement: Select[Any],
        row: Any,
        filters: Mapping[str, Any] | None = None,
    ) -> tuple[list[Any], str | None]:
        """The rows of this page and the cursor of the next. Raises BadRequest `invalid_cursor`."""
        return self.read_by((row.created_at, row.id), session, statement, filters)

    def read_by(
        self,
        order: Sequence[Any],
        session: Session,
        statement: Select[Any],
        filters: Mapping[str, Any] | None = None,
    ) -> tuple[list[Any], str | None]:
        """As `read`, for rows that other columns put in order; together they must be unique."""
        purpose = [self._path, dict(filters or {})]
        if self._cursor is not None:
            values = self._signer.read(self._cursor, purpose)
            place = [_read(column, value) for column, value in zip(order, values, strict=True)]
            statement = statement.where(tuple_(*order) < tuple_(*place))
        statement = statement.order_by(*(column.desc() for column in order))
        rows = list(session.scalars(statement.limit(self._limit + 1)))
        if len(rows) <= self._limit:
            return rows, None
        rows.pop()
        last = [_written(getattr(rows[-1], column.key)) for column in order]
        return rows, self._signer.sign(last, purpose)


def _written(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _read(column: Any, value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(column.type, UTCDateTime) else value


async def _pager(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=200, description="Most items of one answer.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=1000, description="`next_cursor` of the page before.")
    ] = None,
) -> Pager:
    place = f"{caller_of(request.scope).project_id}{request.url.path}"
    return Pager(request.app.state.signer, place, limit, cursor)


PagerDep = Annotated[Pager, Depends(_pager)]
