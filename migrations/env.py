"""Runs migrations against the database of the settings, on PostgreSQL and SQLite."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import JSON, Connection

from app.db import Database, UTCDateTime
from app.settings import get_settings
from app.tables import Row

# Any number, the same for all: two services that start together migrate one after the other.
LOCK = 0x5717_1140


def render(kind: str, item: Any, _autogen: Any) -> str | Literal[False]:
    """How new revisions spell our own types: by what they are, since a revision outlives them."""
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, JSON):
        return "sa.JSON()"
    return False


def migrate(connection: Connection) -> None:
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        # A table that is rebuilt is dropped first, and that must not cascade. Only outside of a
        # transaction does this have any effect.
        connection.connection.driver_connection.execute("PRAGMA foreign_keys=OFF")
    context.configure(
        connection=connection,
        target_metadata=Row.metadata,
        render_as_batch=sqlite,
        render_item=render,
    )
    with context.begin_transaction():
        if not sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("Migrations need the database: run them without --sql.")

settings = context.config.attributes.get("settings") or get_settings()
settings.home.mkdir(parents=True, exist_ok=True)
database = Database(settings.database)
try:
    with database.engine.connect() as connection:
        migrate(connection)
finally:
    database.close()
