import io
import math
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from app.db import Database
from app.metrics import service, writing
from app.tables import Job
from tests.api.helpers import Rows, assert_problem


class Curves:
    """Writes points as a supervisor does: the job's seq and the points in one transaction."""

    def __init__(self, database: Database, job_id: str) -> None:
        self.database = database
        self.job_id = job_id

    def write(self, points: list[tuple[Any, ...]]) -> None:
        with self.database.transaction() as session:
            job = session.get(Job, self.job_id, with_for_update=True)
            assert job is not None
            writing.append(session, self.job_id, job.seq + 1, points)
            job.seq += len(points)

    def line(self, key: str, start: int, stop: int) -> None:
        self.write([(key, step, step / 10, 1e9 + step, 1 / step) for step in range(start, stop)])


@pytest.fixture
def job_id(rows: Rows) -> str:
    return rows.job(state="running")


@pytest.fixture
def curves(database: Database, job_id: str) -> Curves:
    return Curves(database, job_id)


def metrics(api: httpx.Client, job_id: str, **query: Any) -> dict[str, Any]:
    answer = api.get(f"/jobs/{job_id}/metrics", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_short_curve_is_all_there(api: httpx.Client, job_id: str, curves: Curves) -> None:
    assert metrics(api, job_id)["series"] == []
    curves.line("train/loss", 1, 4)
    curves.line("train/accuracy", 1, 2)
    got = metrics(api, job_id)
    assert (got["job"], got["state"], got["x"]) == (job_id, "running", "step")
    assert [one["key"] for one in got["series"]] == ["train/accuracy", "train/loss"]
    loss = got["series"][1]
    assert loss["x"] == [1, 2, 3]
    assert loss["y"] == loss["y_min"] == loss["y_max"] == [1, 1 / 2, 1 / 3]
    assert (loss["count"], loss["sampled"], loss["nonfinite"]) == (3, False, 0)
    assert metrics(api, job_id, x="epoch")["series"][1]["x"] == [0.1, 0.2, 0.3]
    assert metrics(api, job_id, x="time")["series"][1]["x"] == [1e9 + 1, 1e9 + 2, 1e9 + 3]


def test_many_curves_share_an_answer(
    api: httpx.Client, job_id: str, curves: Curves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_POINTS", 40)
    for key in "abcd":
        curves.line(key, 1, 101)
    assert [len(one["x"]) for one in metrics(api, job_id)["series"]] == [10] * 4
    assert [len(one["x"]) for one in metrics(api, job_id, keys="a")["series"]] == [40]
    assert [len(one["x"]) for one in metrics(api, job_id, max_points=5)["series"]] == [5] * 4


def test_keys(api: httpx.Client, job_id: str, curves: Curves) -> None:
    for key in ("a", "b", "c/d"):
        curves.line(key, 1, 3)
    got = metrics(api, job_id, keys="c/d,a,unknown")
    assert [one["key"] for one in got["series"]] == ["a", "c/d"]
    assert api.get(f"/jobs/{job_id}/metrics?keys=%00").status_code == 422


@pytest.mark.parametrize("agg", ["minmax", "mean", "last"])
def test_a_long_curve_is_sampled(api: httpx.Client, job_id: str, curves: Curves, agg: str) -> None:
    curves.line("loss", 1, 1001)
    got = metrics(api, job_id, max_points=12, agg=agg)["series"][0]
    assert len(got["x"]) == len(got["y"]) == 12
    assert (got["x"][0], got["x"][-1]) == (1, 1000)
    assert (got["count"], got["sampled"]) == (1000, True)
    assert (got["y"][0], got["y"][-1]) == (1, 1 / 1000)
    if agg == "minmax":
        assert got["y"] == [1 / x for x in got["x"]]
        assert got["y_min"] == got["y"]
        assert got["y_max"][2] == 1 / (got["x"][1] + 1)
    else:
        assert got["y_min"] is got["y_max"] is None
    if agg == "mean":
        between = range(int(got["x"][0]) + 1, int(got["x"][1]) + 1)
        assert got["y"][1] == pytest.approx(sum(1 / step for step in between) / len(between))
    assert got == metrics(api, job_id, max_points=12, agg=agg)["series"][0]


def test_what_is_not_finite_is_null_and_counted(
    api: httpx.Client, job_id: str, curves: Curves
) -> None:
    values = [1.0, math.nan, None, math.inf, 2.0]
    curves.write([("loss", step, 0.0, 0.0, value) for step, value in enumerate(values)])
    got = metrics(api, job_id)["series"][0]
    assert got["y"] == [1.0, None, None, None, 2.0]
    assert (got["count"], got["nonfinite"]) == (5, 3)
    assert metrics(api, job_id, max_points=2, agg="mean")["series"][0]["y"] == [1.0, 2.0]


def test_a_point_written_again_is_overwritten(
    api: httpx.Client, job_id: str, curves: Curves, database: Database
) -> None:
    curves.line("loss", 1, 6)
    with database.transaction() as session:
        writing.delete_after(session, job_id, 3)
    assert metrics(api, job_id)["series"][0]["x"] == [1, 2, 3]
    curves.write(
        [("loss", 3, 0.0, 0.0, 7.0), ("loss", 4, 0.0, 0.0, 8.0), ("loss", 4, 0.0, 0.0, 9.0)]
    )
    got = metrics(api, job_id)["series"][0]
    assert (got["x"], got["y"][2:]) == ([1, 2, 3, 4], [7.0, 9.0])


def test_following(api: httpx.Client, job_id: str, curves: Curves, rows: Rows) -> None:
    curves.line("loss", 1, 11)
    first = metrics(api, job_id)
    assert not first["has_more"]
    assert metrics(api, job_id, after=first["next"])["series"] == []

    curves.line("loss", 11, 18)
    curves.line("accuracy", 11, 14)
    seen: dict[str, list[float]] = {"loss": [], "accuracy": []}
    cursor, pages, more = first["next"], 0, True
    while more:
        page = metrics(api, job_id, after=cursor, max_points=4)
        assert sum(len(one["x"]) for one in page["series"]) <= 4
        for one in page["series"]:
            assert one["sampled"] is False
            seen[one["key"]] += one["x"]
        cursor, pages, more = page["next"], pages + 1, page["has_more"]
    assert pages == 3
    assert seen == {"loss": [*range(11, 18)], "accuracy": [*range(11, 14)]}

    rows.set(Job, job_id, state="succeeded")
    curves.line("loss", 18, 20)
    page = metrics(api, job_id, after=cursor, max_points=2)
    assert (page["series"][0]["x"], page["has_more"], page["next"]) == ([18, 19], False, None)
    assert metrics(api, job_id)["next"] is None


def test_a_cursor_belongs_to_its_job_and_keys(
    api: httpx.Client, job_id: str, curves: Curves, rows: Rows
) -> None:
    curves.line("loss", 1, 3)
    cursor = metrics(api, job_id, keys="loss,a")["next"]
    assert metrics(api, job_id, keys="a,loss", after=cursor)["series"] == []
    for path in (
        f"/jobs/{job_id}/metrics?after={cursor}",
        f"/jobs/{rows.job()}/metrics?keys=loss,a&after={cursor}",
        f"/jobs/{job_id}/metrics?after=x",
    ):
        assert_problem(api.get(path), 400, "invalid_cursor")


def test_unchanged_is_304(api: httpx.Client, job_id: str, curves: Curves) -> None:
    url = f"/jobs/{job_id}/metrics"
    curves.line("loss", 1, 3)
    etag = api.get(url).headers["etag"]
    same = {"If-None-Match": etag}
    assert api.get(url, headers=same).status_code == 304
    assert api.get(f"{url}?max_points=5", headers=same).status_code == 200
    curves.line("loss", 3, 4)
    assert api.get(url, headers=same).status_code == 200
    etag = api.get(url).headers["etag"]
    api.post(f"/jobs/{job_id}/cancel")
    assert api.get(url, headers={"If-None-Match": etag}).json()["state"] == "cancelling"


def test_all_of_it_as_a_file(
    api: httpx.Client, job_id: str, curves: Curves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.metrics.export.PIECE", 7)
    curves.line("loss", 1, 25)
    curves.line("b", 1, 8)
    curves.write([("loss", 30, 3.0, 5.0, None)])
    lines = api.get(f"/jobs/{job_id}/metrics?format=csv&max_points=2").text.split("\r\n")
    assert lines[0] == "key,step,epoch,time,value"
    assert lines[1] == "b,1,0.1,1000000001.0,1.0"
    assert lines[-2:] == ["loss,30,3.0,5.0,", ""]
    assert len(lines) == 1 + 7 + 24 + 1 + 1

    answer = api.get(f"/jobs/{job_id}/metrics?format=parquet&keys=loss")
    table = pq.read_table(io.BytesIO(answer.content))
    assert table.column("step").to_pylist() == [*range(1, 25), 30]
    assert table.column("value").to_pylist()[-2:] == [1 / 24, None]
    empty = api.get(f"/jobs/{job_id}/metrics?format=parquet&keys=none").content
    assert pq.read_table(io.BytesIO(empty)).num_rows == 0


@pytest.mark.parametrize(
    "query", ["x=day", "max_points=1", "max_points=10001", "agg=max", "format=xml"]
)
def test_queries_that_are_none(api: httpx.Client, job_id: str, query: str) -> None:
    assert api.get(f"/jobs/{job_id}/metrics?{query}").status_code == 422
