"""Databases that tests make, empty and drop, past the application's own engine."""

import secrets

import psycopg
import sqlalchemy as sa

from app.tables import DEFAULT_PROJECT, Row


class fresh_postgres:  # noqa: N801  (reads as a statement)
    """A database that exists for the length of a with block."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.name = f"stillhouse_test_{secrets.token_hex(6)}"

    def __enter__(self) -> str:
        self._say(f"CREATE DATABASE {self.name}")
        url = sa.make_url(self.server).set(database=self.name)
        return url.set(drivername="postgresql").render_as_string(hide_password=False)

    def __exit__(self, *_: object) -> None:
        self._say(f"DROP DATABASE {self.name} WITH (FORCE)")

    def _say(self, statement: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(statement)


def empty(url: str) -> None:
    """Deletes every row but what migrations put there, through a connection of its own."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for table in reversed(Row.metadata.sorted_tables):
            kept = table.c.id == DEFAULT_PROJECT if table.name == "projects" else sa.false()
            connection.execute(table.delete().where(~kept))
    engine.dispose()


def answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.Error:
        return False
    return True
