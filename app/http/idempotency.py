"""Idempotency-Key: the same POST twice makes one thing and answers the same."""

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db import Database, before_commit
from app.errors import Unprocessable
from app.http.answers import Answer
from app.tables import IdempotencyKey, Row
from app.tenancy import made, project_of, unchanged

_KEYS = Row.metadata.tables[IdempotencyKey.__tablename__]
# Built once, and past the ORM: every POST runs them, and building them took longer than they do.
_CLAIM = {
    name: insert(_KEYS).on_conflict_do_nothing().returning(_KEYS.c.key)
    for name, insert in (("postgresql", postgresql.insert), ("sqlite", sqlite.insert))
}
_KEEP = (
    update(_KEYS)
    .where(
        _KEYS.c.project_id == bindparam("my_project_id"),
        _KEYS.c.key == bindparam("my_key"),
        _KEYS.c.operation == bindparam("my_operation"),
    )
    .values({name: bindparam(name) for name in ("status", "headers", "body")})
)


class Idempotency:
    """Runs a creation at most once for its key, which is its project's own.

    The key's row is written first, in the transaction of what is created. A duplicate that comes
    meanwhile waits there, on the primary key, until that transaction has ended, and then finds
    its answer. A creation that is refused leaves no key behind.
    """

    def __init__(self, key: str | None, operation: str, fingerprint: str) -> None:
        self._key = key
        self._operation = operation
        self._fingerprint = fingerprint

    def of(self, *parts: str) -> "Idempotency":
        """For a body that was streamed: all of `parts` must be the same again."""
        return Idempotency(self._key, self._operation, _fingerprint(parts))

    def check(self, database: Database) -> None:
        """Raises Unprocessable early, before costly work that a reused key would waste."""
        if self._key is not None:
            with database.reading() as session:
                self._kept(session)

    def known(self, session: Session) -> bool:
        """Whether the key came before, with whatever body."""
        if self._key is None:
            return False
        statement = select(IdempotencyKey.operation).where(*self._mine(session))
        return session.execute(statement).one_or_none() is not None

    def once(self, database: Database, create: Callable[[Session], Answer]) -> Response:
        """Raises Unprocessable `idempotency_key_reused`, and whatever `create` raises."""
        with database.transaction() as session:
            if self._key is None:
                answer = create(session)
                _name(session, answer)
                return answer.response()
            if not self._claim(session):
                unchanged(session)
                return self._replay(session)
            answer = create(session)
            _name(session, answer)
            kept = {"status": answer.status, "headers": dict(answer.headers), "body": answer.body}
            mine = {f"my_{name}": value for name, value in self._mine_as(session).items()}
            before_commit(session, _KEEP, {**mine, **kept})
            return answer.response()

    def _claim(self, session: Session) -> bool:
        claimed = _CLAIM[session.get_bind().dialect.name]
        values = {**self._mine_as(session), "request_sha256": self._fingerprint}
        return session.connection().execute(claimed, values).one_or_none() is not None

    def _mine_as(self, session: Session) -> dict[str, str | None]:
        names = {"project_id": project_of(session), "key": self._key}
        return {**names, "operation": self._operation}

    def _replay(self, session: Session) -> Response:
        kept = self._kept(session)
        assert kept is not None  # noqa: S101  (the insert has just met it)
        headers = {**(kept.headers or {}), "Idempotency-Replayed": "true"}
        return Answer(kept.status or 200, kept.body, headers).response()

    def _kept(self, session: Session) -> IdempotencyKey | None:
        mine = select(IdempotencyKey).where(*self._mine(session))
        kept = session.execute(mine).scalar_one_or_none()
        if kept is not None and kept.request_sha256 != self._fingerprint:
            raise Unprocessable(
                "idempotency_key_reused",
                "This Idempotency-Key came before, with another body.",
                hint="Use a new key for a new request.",
            )
        return kept

    def _mine(self, session: Session) -> list[ColumnElement[bool]]:
        # By project too: the operator's sessions see every project's keys.
        mine = self._mine_as(session).items()
        return [getattr(IdempotencyKey, column) == value for column, value in mine]


Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A value of your own, new for each thing to create: the same request sent "
        "again with it creates nothing more and answers the same.",
    ),
]


async def _of_json(request: Request, key: Key = None) -> Idempotency:
    fingerprint = ""
    if key is not None:
        fingerprint = _fingerprint(await request.json() if await request.body() else None)
    return Idempotency(key, _operation(request), fingerprint)


async def _of_stream(request: Request, key: Key = None) -> Idempotency:
    return Idempotency(key, _operation(request), "")


def _fingerprint(body: Any) -> str:
    """The order of keys and white space do not make another request."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _name(session: Session, answer: Answer) -> None:
    """Tells the audit what was made."""
    if location := answer.headers.get("Location"):
        made(session, location.rpartition("/")[2])


def _operation(request: Request) -> str:
    return f"{request.method} {request.scope['path']}"


IdempotencyDep = Annotated[Idempotency, Depends(_of_json)]
StreamIdempotencyDep = Annotated[Idempotency, Depends(_of_stream)]
