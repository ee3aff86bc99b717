"""A job's log over HTTP: whole, its end, and what is new."""

import httpx
import pytest

from app.db import Database, now
from app.logs import pieces
from app.tables import Job, JobLog
from tests.api.helpers import Rows, assert_problem

LINES = "".join(f"line {i}\n" for i in range(10))


@pytest.fixture
def job(rows: Rows) -> str:
    return rows.job(state="running")


def write(database: Database, job: str, start: int, text: str) -> None:
    with database.transaction() as session:
        pieces.put(session, job, [(start, text.encode())])


def test_a_job_that_said_nothing(api: httpx.Client, job: str) -> None:
    answer = api.get(f"/jobs/{job}/logs")
    assert (answer.status_code, answer.text) == (200, "")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_all_and_the_end(api: httpx.Client, job: str, database: Database) -> None:
    write(database, job, 0, LINES)
    assert api.get(f"/jobs/{job}/logs").text == LINES
    assert api.get(f"/jobs/{job}/logs?tail=2").text == "line 8\nline 9\n"
    assert api.get(f"/jobs/{job}/logs?after=7&tail=100").text == LINES[7:]
    assert api.head(f"/jobs/{job}/logs").headers["content-length"] == str(len(LINES))


def test_following(api: httpx.Client, job: str, database: Database, rows: Rows) -> None:
    """A link to what comes next, until the job has ended."""
    text = "grüße\n"
    said = text.encode()
    with database.transaction() as session:
        pieces.put(session, job, [(0, said[:3])])  # half of the ü
    first = api.get(f"/jobs/{job}/logs")
    assert first.text == "gr"
    following = first.links["next"]["url"]
    write(database, job, 0, text)
    second = api.get(following)
    assert second.text == "üße\n"
    third = api.get(second.links["next"]["url"])
    assert third.text == ""
    etag = {"If-None-Match": third.headers["etag"]}
    assert api.get(second.links["next"]["url"], headers=etag).status_code == 304
    rows.set(Job, job, state="succeeded", finished_at=now())
    last = api.get(second.links["next"]["url"], headers=etag)
    assert last.status_code == 200
    assert "next" not in last.links


def test_etag(api: httpx.Client, job: str, database: Database) -> None:
    write(database, job, 0, LINES)
    first = api.get(f"/jobs/{job}/logs")
    same = {"If-None-Match": first.headers["etag"]}
    assert api.get(f"/jobs/{job}/logs", headers=same).status_code == 304
    assert api.get(f"/jobs/{job}/logs?tail=1", headers=same).status_code == 200
    write(database, job, len(LINES), "more\n")
    assert api.get(f"/jobs/{job}/logs", headers=same).text == f"{LINES}more\n"


def test_it_goes_with_its_job(api: httpx.Client, job: str, database: Database, rows: Rows) -> None:
    write(database, job, 0, LINES)
    rows.set(Job, job, state="succeeded", finished_at=now())
    assert api.delete(f"/jobs/{job}").status_code == 204
    with database.reading() as session:
        assert session.get(JobLog, (job, 0)) is None
    assert_problem(api.get(f"/jobs/{job}/logs"), 404, "job_not_found")


@pytest.mark.parametrize("query", ["tail=0", "tail=x", "after=-1", "lines=5"])
def test_nonsense(api: httpx.Client, job: str, query: str) -> None:
    assert api.get(f"/jobs/{job}/logs?{query}").status_code == 422
