"""Engine, transactions and the database's own clock, on PostgreSQL and SQLite alike."""

import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypedDict

from psycopg import Error as DriverError
from psycopg import OperationalError
from pydantic_core import from_json, to_json
from sqlalchemy import (
    DateTime,
    Dialect,
    Double,
    Engine,
    Executable,
    create_engine,
    event,
    literal,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator


def insert_for(session: Session, table: Any) -> Any:
    """INSERT ... ON CONFLICT, which both databases spell alike and SQLAlchemy does not."""
    kind: Any = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    return kind.insert(table)


class UTCDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite keeps it as text without its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class now_plus(FunctionElement[datetime]):  # noqa: N801  (reads as SQL)
    """The database's clock plus some seconds. Leases must never meet two machines' clocks."""

    type = UTCDateTime()
    # The seconds are a bound parameter, so statements with them are compiled once.
    inherit_cache = True

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(literal(float(seconds), Double))


@compiles(now_plus, "postgresql")
def _now_postgresql(element: now_plus, compiler: SQLCompiler, **options: Any) -> str:
    # clock_timestamp() moves on inside a transaction; now() would be its start.
    seconds = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(now_plus, "sqlite")
def _now_sqlite(element: now_plus, compiler: SQLCompiler, **options: Any) -> str:
    # Six digits of fraction, so that text compares as time does.
    seconds = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {seconds} || ' seconds')"


def now() -> now_plus:
    return now_plus()


class Database:
    """Hands out transactions. One per process; threads may share it.

    A process that was stopped, or whose machine was cut off, keeps no row locked for longer than
    `idle_limit_s`: PostgreSQL then ends its transaction.
    """

    def __init__(self, url: str, *, pool_size: int = 20, idle_limit_s: float | None = None) -> None:
        # Documents are a large part of what is read and written.
        json: dict[str, Any] = {"json_serializer": _to_json, "json_deserializer": from_json}
        if url.startswith("sqlite"):
            self.engine = create_engine(url, connect_args={"timeout": 30}, **json)
            _prepare_sqlite(self.engine)
        else:
            self.engine = create_engine(
                url,
                pool_size=pool_size,
                # Past the pool each request would open and close its own, a process of the server's
                # each time; and a server of 100 sessions has few to spare.
                max_overflow=0,
                connect_args={"connect_timeout": 5},
                **json,
            )
            _drop_closed(self.engine)
            if idle_limit_s is not None:
                _limit_idleness(self.engine, idle_limit_s)
        self._reader = self.engine.execution_options(reading=True)
        if self._reader.dialect.name == "postgresql":
            # Each statement sees what is committed, as in READ COMMITTED, without two round trips.
            self._reader = self._reader.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A writing transaction: sends what `before_commit` collected, commits, then runs what
        `after_commit` collected."""
        with self._session(self.engine) as session:
            with session.begin():
                yield session
                _send(session)
            for action in session.info.get("after_commit", ()):
                action()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads, and on SQLite waits for no writer."""
        with self._session(self._reader) as session, session.begin():
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """As `reading`, and everything in it is read from one state of the database."""
        with self.reading() as session:
            if self.engine.dialect.name == "postgresql":  # on SQLite every transaction is so
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    def _session(self, engine: Engine) -> Session:
        return Session(engine, expire_on_commit=False)

    def close(self) -> None:
        self.engine.dispose()


def _to_json(value: Any) -> str:
    # A number that JSON cannot hold is refused by PostgreSQL, and must not become null unnoticed.
    return to_json(value, inf_nan_mode="constants").decode()


class _Lock(TypedDict):
    read: bool
    key_share: bool


KEPT: _Lock = {"read": True, "key_share": True}
"""For `with_for_update`: rows that nobody may delete before the transaction ends, so that another
row can name them. SQLite, which has one writer, needs no such thing."""


def before_commit(session: Session, statement: Executable, values: Any) -> None:
    """Executes a statement at the end of the transaction, after all flushes.

    It is for writes whose outcome nobody reads: PostgreSQL gets all of them in one round trip.
    """
    session.info.setdefault("before_commit", []).append((statement, values))


def _send(session: Session) -> None:
    if not (waiting := session.info.get("before_commit")):
        return
    session.flush()
    connection = session.connection()
    if connection.dialect.name != "postgresql":
        for statement, values in waiting:
            connection.execute(statement, values)
        return
    driver: Any = connection.connection.driver_connection
    try:
        with driver.pipeline():
            for statement, values in waiting:
                connection.execute(statement, values)
    except DriverError as error:  # raised past SQLAlchemy, at the end of the pipeline
        raise DBAPIError.instance(
            None, None, error, DriverError, dialect=connection.dialect
        ) from error


def after_commit(session: Session, action: Callable[[], None]) -> None:
    """Runs `action` once the transaction has been committed, and never if it is rolled back."""
    session.info.setdefault("after_commit", []).append(action)


def _drop_closed(engine: Engine) -> None:
    """A server that was restarted, or ended a session, has closed the connection: the kernel knows
    without a question to the server, which would cost each transaction two or three round trips."""

    @event.listens_for(engine, "checkout")
    def _checkout(connection: Any, _record: Any, _proxy: Any) -> None:
        poll = select.poll()
        try:
            poll.register(connection.fileno(), select.POLLIN)
        except OperationalError:  # psycopg's, of a connection that it has found closed
            raise InvalidatePoolError from None
        if poll.poll(0):  # nobody was asked anything: this is the end, or its announcement
            raise InvalidatePoolError


def _limit_idleness(engine: Engine, seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        # Not an option of the connection: a pooler between would refuse that.
        limit = f"{seconds * 1000:.0f}ms"
        connection.execute(f"SET idle_in_transaction_session_timeout = '{limit}'")
        connection.commit()


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A transaction that reads first and writes later cannot be upgraded under WAL once
        # somebody else has written: take the write lock at once.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
