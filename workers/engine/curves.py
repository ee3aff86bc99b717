"""The curves that a job's card shows, kept while they pass by."""

from collections.abc import Mapping, Sequence

from workers.engine.reporter import Point, Reporter

SHOWN = ("train/loss", "validation/accuracy", "validation/agreement")
"""How the names of curves end that a card may show."""
MOST_KEYS = 32
MOST_POINTS = 2000
"""Of one curve; with more, every second one is dropped."""

Curves = Mapping[str, Sequence[tuple[float, float]]]
"""(epoch, value) by metric."""


class Recorder:
    """Passes events on, and keeps what a card shows of the metrics among them.

    `earlier` is what attempts before this one have told.
    """

    def __init__(self, reporter: Reporter, earlier: Curves) -> None:
        self._reporter = reporter
        self.curves = {key: list(points) for key, points in earlier.items()}

    @property
    def stopping(self) -> bool:
        return self._reporter.stopping

    def send(self, event: str, **fields: object) -> None:
        if event == "metrics":
            points: Sequence[Point] = fields["points"]  # type: ignore[assignment]
            for key, _, epoch, _, value in points:
                if value is not None and key.endswith(SHOWN):
                    self._keep(key, epoch, value)
        self._reporter.send(event, **fields)

    def _keep(self, key: str, epoch: float, value: float) -> None:
        if key not in self.curves and len(self.curves) >= MOST_KEYS:
            return
        curve = self.curves.setdefault(key, [])
        while curve and curve[-1][0] >= epoch:  # an attempt before came further than its checkpoint
            curve.pop()
        curve.append((epoch, value))
        if len(curve) > MOST_POINTS:
            del curve[1:-1:2]
