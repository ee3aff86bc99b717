"""Curves, as charts want them."""

from typing import Any, Literal

from app.http.schema import Resource, example

Aggregate = Literal["minmax", "mean", "last"]
Axis = Literal["step", "epoch", "time"]
Format = Literal["json", "csv", "parquet"]


class SeriesOut(Resource):
    """One curve, or what is new of it. A value that was not finite is null."""

    key: str
    x: list[float]
    """Steps, fractional epochs, or seconds since 1970."""
    y: list[float | None]
    """Each bucket's last value; with `agg=mean` its mean."""
    y_min: list[float | None] | None
    """Lowest value of each bucket; null unless `agg=minmax`."""
    y_max: list[float | None] | None
    count: int
    """Points that this stands for."""
    nonfinite: int
    """How many of them were NaN or infinite."""
    sampled: bool
    """Whether a point here stands for more than one."""


METRICS: dict[str, Any] = {
    "job": "job_06a1x7k2m3n4p5q6r7s8t9v0w",
    "state": "running",
    "x": "step",
    "series": [
        {
            "key": "train/loss",
            "x": [1, 6000, 15000],
            "y": [2.31, 0.27, 0.08],
            "y_min": [2.31, 0.11, 0.08],
            "y_max": [2.31, 2.28, 0.08],
            "count": 15000,
            "nonfinite": 0,
            "sampled": True,
        }
    ],
    "next": "cXVpdGUgb3BhcXVl",
    "has_more": False,
    "seq": 15022,
}


class MetricsOut(Resource, json_schema_extra=example(METRICS)):
    """A job's curves."""

    job: str
    state: str
    x: Axis
    series: list[SeriesOut]
    """By key. A key that the job does not have is absent."""
    next: str | None
    """Pass it as `after` to get what is new; null once the job has ended and all of it was sent."""
    has_more: bool
    """Whether there is more to fetch right now."""
    seq: int
    """The number of the last thing that is in here: `GET /jobs/{id}/stream?after=` goes on from it
    without a gap."""
