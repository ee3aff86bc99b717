from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from app.db import Database, after_commit, before_commit, now, now_plus
from app.tables import Tally, Worker


def test_the_clock_is_the_databases_own_and_in_utc(database: Database) -> None:
    with database.transaction() as session:
        here, later = session.execute(sa.select(now(), now_plus(90.5))).one()
    assert abs(here - datetime.now(UTC)) < timedelta(seconds=5)
    assert timedelta(seconds=90.4) < later - here < timedelta(seconds=90.7)


def test_times_compare_as_they_should(database: Database) -> None:
    with database.transaction() as session:
        session.add(Worker(id="w", queue="train"))
    with database.reading() as session:
        for seconds, expected in ((-60, 1), (60, 0)):  # a busy machine takes its time between
            newer = sa.select(sa.func.count()).where(Worker.seen_at > now_plus(seconds))
            assert session.scalar(newer) == expected
        made = session.get(Worker, "w").seen_at
        assert made.tzinfo is UTC
        assert session.scalar(sa.select(Worker.id).where(Worker.seen_at == made)) == "w"


def test_after_commit_and_only_then(database: Database) -> None:
    done: list[str] = []
    with database.transaction() as session:
        after_commit(session, lambda: done.append("committed"))
        assert done == []

    def fail() -> None:
        with database.transaction() as session:
            after_commit(session, lambda: done.append("rolled back"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert done == ["committed"]


TALLY = sa.insert(Tally).inline()


def test_before_commit_comes_after_all_that_is_flushed(database: Database) -> None:
    values = {"name": "n", "value": 2}
    with database.transaction() as session:
        before_commit(session, TALLY, values)
        before_commit(session, sa.update(Tally).where(Tally.name == "w"), {"value": 7})
        before_commit(session, TALLY, [{"name": "a", "value": 3}, {"name": "b", "value": 4}])
        session.add(Tally(name="w", value=1))
        assert session.get(Tally, "n") is None
    with database.reading() as session:
        found = {row.name: row.value for row in session.scalars(sa.select(Tally))}
    assert found == {"n": 2, "w": 7, "a": 3, "b": 4}


def test_what_fails_before_the_commit_keeps_nothing(database: Database) -> None:
    def twice() -> None:
        with database.transaction() as session:
            session.add(Tally(name="w", value=1))
            for value in (2, 3):
                before_commit(session, TALLY, {"name": "n", "value": value})

    with pytest.raises(sa.exc.IntegrityError):
        twice()
    with database.transaction() as session:  # the connection is as good as before
        assert session.scalar(sa.select(sa.func.count()).select_from(Tally)) == 0
        before_commit(session, TALLY, {"name": "n", "value": 4})
    with database.reading() as session:
        assert session.get_one(Tally, "n").value == 4


def test_a_connection_lost_before_the_commit_is_told_as_such(database: Database) -> None:
    if database.engine.dialect.name != "postgresql":
        return

    def lost() -> None:
        with database.transaction() as session:
            pid = session.scalar(sa.select(sa.func.pg_backend_pid()))
            with database.reading() as other:
                other.execute(sa.select(sa.func.pg_terminate_backend(pid, 5000)))
            before_commit(session, TALLY, {"name": "n", "value": 1})

    with pytest.raises(sa.exc.OperationalError):
        lost()
    with database.transaction() as session:
        assert session.get(Tally, "n") is None


def test_connections_that_the_server_closed_are_replaced(database: Database) -> None:
    """As after a restart: nobody notices."""
    if database.engine.dialect.name != "postgresql":
        return
    with database.reading() as first, database.transaction() as second, database.reading() as third:
        pids = {one.scalar(sa.select(sa.func.pg_backend_pid())) for one in (first, second, third)}
    assert len(pids) == 3
    own = Database(database.engine.url.render_as_string(hide_password=False))
    with own.reading() as session:
        for pid in pids:
            session.execute(sa.select(sa.func.pg_terminate_backend(pid, 5000)))
    own.close()
    for _ in range(4):
        with database.reading() as session, database.transaction() as writing:
            new = {one.scalar(sa.select(sa.func.pg_backend_pid())) for one in (session, writing)}
            assert not new & pids


def test_a_snapshot_stands_still(database: Database) -> None:
    count = sa.select(sa.func.count()).select_from(Worker)
    with database.snapshot() as session:
        assert session.scalar(count) == 0
        with database.transaction() as writing:
            writing.add(Worker(id="w", queue="train"))
        assert session.scalar(count) == 0
    with database.reading() as session:
        assert session.scalar(count) == 1
