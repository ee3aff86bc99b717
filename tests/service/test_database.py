from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from app.db import Database, after_commit, now, now_plus
from app.tables import Worker


def test_the_clock_is_the_databases_own_and_in_utc(database: Database) -> None:
    with database.transaction() as session:
        here, later = session.execute(sa.select(now(), now_plus(90.5))).one()
    assert abs(here - datetime.now(UTC)) < timedelta(seconds=5)
    assert timedelta(seconds=90.4) < later - here < timedelta(seconds=90.7)


def test_times_compare_as_they_should(database: Database) -> None:
    with database.transaction() as session:
        session.add(Worker(id="w", queue="train"))
    with database.reading() as session:
        for seconds, expected in ((-0.5, 1), (5, 0)):
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
