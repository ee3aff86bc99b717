"""Curves of jobs."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Row


class MetricSeries(Row):
    """One curve of a job."""

    __tablename__ = "metric_series"
    __table_args__ = (UniqueConstraint("job_id", "key"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(200))
    rows: Mapped[int | None] = mapped_column(BigInteger)
    """Points of the curve; null where they have not been counted and rolled up."""
    step: Mapped[int | None] = mapped_column(BigInteger)
    """The last one's."""
    open: Mapped[list[Any] | None]
    """What is in the roll-ups that are not full yet, see `app.metrics.rollups.Roller`."""


class MetricPoint(Row):
    """One value of a curve; written again, it is overwritten (a resumed job repeats steps)."""

    __tablename__ = "metric_points"
    __table_args__ = (Index("ix_metric_points_series_seq", "series_id", "seq"),)

    series_id: Mapped[int] = mapped_column(
        ForeignKey("metric_series.id", ondelete="CASCADE"), primary_key=True
    )
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[float]
    time: Mapped[float]
    """Seconds since 1970."""
    value: Mapped[float | None]
    """Null stands for a value that was not finite."""


class MetricRollup(Row):
    """What is known of `size` neighbouring points of a curve: see `app.metrics.rollups`."""

    __tablename__ = "metric_rollups"

    series_id: Mapped[int] = mapped_column(
        ForeignKey("metric_series.id", ondelete="CASCADE"), primary_key=True
    )
    size: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger)
    """Of the last point, as are epoch, time and value."""
    epoch: Mapped[float]
    time: Mapped[float]
    value: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    total: Mapped[float]
    """The sum of the finite values, times `app.metrics.rollups.SCALE`."""
    finite: Mapped[int]
