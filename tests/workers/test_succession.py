"""What a worker that was killed leaves to the next of its name."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.db import Database
from app.states import State
from tests.workers.fakes import Bell
from tests.workers.rows import add_dataset, add_job, job
from workers.claims import Claim
from workers.ledger import Ledger
from workers.succession import Seat, succeed

TAKES = """
import sys
from pathlib import Path
from workers.succession import Seat
seat = Seat(Path(sys.argv[1]), "train@host")
print(seat.take(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database, lease_s=60, max_attempts=3)


def taken(ledger: Ledger, database: Database, worker: str, home: Path | None) -> Claim:
    """A job of this worker's; its attempt has a folder in `home`."""
    claim = ledger.claim(add_job(database, add_dataset(database)), worker)
    assert claim is not None
    if home is not None:
        (home / "runs" / claim.job_id / str(claim.token)).mkdir(parents=True)
    return claim


def test_a_seat_is_free_once_its_process_is_dead(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TAKES, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        seat = Seat(tmp_path, "train@host")
        assert not seat.take()
        assert Seat(tmp_path, "second@host").take()
        assert Seat(tmp_path / "elsewhere", "train@host").take()
        holder.kill()
        holder.wait()
        assert seat.take()
        assert not Seat(tmp_path, "train@host").take()


def test_the_next_worker_ends_what_the_killed_one_had_here(
    ledger: Ledger, database: Database, tmp_path: Path
) -> None:
    mine = taken(ledger, database, "train@host", tmp_path)
    others = taken(ledger, database, "second@host", tmp_path)
    elsewhere = taken(ledger, database, "train@host", None)
    bell = Bell()
    assert succeed(ledger, bell, tmp_path, "train@host") == [mine.job_id]
    assert bell.rung == [mine.job_id]
    ended = job(database, mine.job_id)
    assert (ended.state, ended.worker, ended.fruitless) == (State.QUEUED, None, 1)
    for other in (others, elsewhere):
        assert job(database, other.job_id).state == State.RUNNING
    again = ledger.claim(mine.job_id, "train@host")
    assert again is not None
    assert again.attempt == 2
    # The folder of the first attempt says nothing about the second, which never began here.
    assert succeed(ledger, bell, tmp_path, "train@host") == []


def test_without_its_database_a_worker_starts_all_the_same(tmp_path: Path) -> None:
    away = Database(f"sqlite:///{tmp_path}/no/such/folder.db")
    ledger = Ledger(away, lease_s=60, max_attempts=3)
    assert succeed(ledger, Bell(), tmp_path, "train@host") == []
    away.close()
