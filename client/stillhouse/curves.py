"""A job's metrics, as numbers to compute with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stillhouse.models import MetricsOut, SeriesOut

if TYPE_CHECKING:
    import pandas as pd


class Metrics(MetricsOut):
    """Curves by key; long ones are sampled (`max_points`), and every one says so."""

    def __getitem__(self, key: str) -> SeriesOut:
        """Raises KeyError where the job has no such curve (yet)."""
        for series in self.series:
            if series.key == key:
                return series
        raise KeyError(f"{key}: there are {', '.join(self.keys()) or 'no curves yet'}")

    def __contains__(self, key: str) -> bool:
        return key in self.keys()

    def keys(self) -> list[str]:
        return [series.key for series in self.series]

    def latest(self) -> dict[str, float | None]:
        """The last value of each curve."""
        return {series.key: series.y[-1] for series in self.series if series.y}

    def to_pandas(self) -> pd.DataFrame:
        """A column for each curve, over all of their x. Raises ImportError without pandas."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("Data frames need pandas: pip install './client[pandas]'") from error
        columns = {
            series.key: pd.Series(series.y, index=series.x, dtype="float64")
            for series in self.series
        }
        frame = pd.DataFrame(columns).sort_index()
        frame.index.name = self.x
        if self.x == "time":
            frame.index = pd.to_datetime(frame.index, unit="s", utc=True)
            frame.index.name = self.x
        return frame
