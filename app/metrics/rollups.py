"""Roll-ups: what is known of 16, 64, ... 4096 neighbouring rows of a curve, kept beside them.

A chart of a thousand points over a million rows reads some four thousand roll-ups instead. The
first row of a curve is in none, since a chart shows it by itself; after it, each `size` rows have
one. They depend on the rows alone, not on how these came: which attempt wrote them, or in what
batches.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

SIZES = (16, 64, 256, 1024, 4096)
"""Rows under a roll-up. Each is a multiple of the one before."""

FINE = 1000
"""Charts are made of at least so many roll-ups or rows: fewer would make uneven buckets."""

SCALE = 2.0**-30
"""Sums are kept so much smaller, which is exact, so that those of finite values stay finite."""


class Row(NamedTuple):
    """A row of a curve, in whatever curve it is."""

    step: int
    epoch: float
    time: float
    value: float | None


class Sums(NamedTuple):
    """What rows come to; values that were not finite do not count."""

    low: float | None = None
    high: float | None = None
    total: float = 0.0
    """Times SCALE."""
    finite: int = 0

    @property
    def mean(self) -> float | None:
        return self.total * (1 / SCALE / self.finite) if self.finite else None


NOTHING = Sums()


class Rollup(NamedTuple):
    """Of the rows from 1 + position * size on; the step and so on are those of the last one."""

    size: int
    position: int
    step: int
    epoch: float
    time: float
    value: float | None
    low: float | None
    high: float | None
    total: float
    finite: int


def summed(values: Sequence[float | None], before: Sums = NOTHING) -> Sums:
    """Of rows that come after `before`. Added one by one, so that it makes no difference in which
    pieces they came."""
    finite = [value for value in values if value is not None]
    if not finite:
        return before
    low, high, total = min(finite), max(finite), before.total
    for value in finite:
        total += SCALE * value
    if before.low is not None and before.high is not None:
        low, high = min(low, before.low), max(high, before.high)
    return Sums(low, high, total, before.finite + len(finite))


def joined(parts: Sequence[Sums]) -> Sums:
    """The sums of several together."""
    some = [part for part in parts if part.finite]
    if not some:
        return NOTHING
    lows, highs, totals, finite = zip(*some, strict=True)
    return Sums(min(lows), max(highs), sum(totals), sum(finite))


class Roller:
    """Rolls up a curve as its rows come, in order of step.

    `rows`, `step` and `open` are all it must remember: how many came, the last one's step, and
    what is in the roll-up of each size that is not full yet (of roll-ups of the size below).
    """

    def __init__(
        self, rows: int = 0, step: int | None = None, open_: Sequence[Sequence[float]] | None = None
    ) -> None:
        self.rows = rows
        self.step = step
        self.open = [Sums._make(one) for one in open_] if open_ else [NOTHING] * len(SIZES)

    def feed(self, rows: Sequence[Row]) -> Iterator[Rollup]:
        """The roll-ups that are full now. The steps must rise from call to call."""
        coming = iter(rows)
        if self.rows == 0:
            self._count(list(islice(coming, 1)))
        while part := list(islice(coming, SIZES[0] - (self.rows - 1) % SIZES[0])):
            self.open[0] = summed([row.value for row in part], self.open[0])
            self._count(part)
            yield from self._close(part[-1])

    def _count(self, rows: Sequence[Row]) -> None:
        self.rows += len(rows)
        self.step = rows[-1].step if rows else self.step

    def _close(self, last: Row) -> Iterator[Rollup]:
        for level, size in enumerate(SIZES):
            position, left = divmod(self.rows - 1, size)
            if left:
                return
            full = self.open[level]
            yield Rollup(size, position - 1, *last, *full)
            self.open[level] = NOTHING
            if level + 1 < len(SIZES):
                self.open[level + 1] = joined([self.open[level + 1], full])


def granule(rows: int, points: int) -> int:
    """Rows that stay together when a curve of so many is cut into `points` buckets: a size of
    SIZES, or 1."""
    for size in reversed(SIZES):
        if (rows - 2) // size >= max(points, FINE):
            return size
    return 1
