"""Curves in a terminal: eight dots of braille in each character."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.text import Text

COLOURS = ("cyan", "yellow", "magenta", "green", "red", "blue")
LOG_FROM = 30.0
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character, by row and column."""
FIRST = ("validation/accuracy", "train/loss")
"""Kinds of curves that are drawn where nobody asks for others."""
TAUGHT_BY = {"validation/teacher_accuracy": "teacher/validation/accuracy"}
"""Curves of a teacher, by the names that put them beside its student's."""


@dataclass(frozen=True)
class Curve:
    """Points to draw; None breaks the line."""

    label: str
    x: Sequence[float]
    y: Sequence[float | None]

    def points(self) -> Iterator[tuple[float, float | None]]:
        for x, y in zip(self.x, self.y, strict=True):
            yield x, y if y is not None and math.isfinite(y) else None

    def last(self) -> float | None:
        return next((y for _, y in reversed(list(self.points())) if y is not None), None)


@dataclass(frozen=True)
class Frame:
    """What of the plane is shown; `log` of one whose height is in powers."""

    left: float
    right: float
    bottom: float
    top: float
    log: bool = False

    @classmethod
    def around(cls, curves: Sequence[Curve], *, log: bool = False) -> Frame | None:
        """None where there is nothing to see. `log` counts only where it shows more."""
        points = [(x, y) for curve in curves for x, y in curve.points() if y is not None]
        if not points:
            return None
        xs, ys = [x for x, _ in points], [y for _, y in points]
        bottom, top = min(ys), max(ys)
        if bottom == top:
            margin = abs(bottom) * 0.05 or 0.5
            bottom, top = bottom - margin, top + margin
        log = log and bottom > 0 and top / bottom > LOG_FROM
        return cls(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, bottom, top, log)

    def height(self, y: float) -> float:
        """From 0 at the bottom to 1 at the top."""
        if self.log:
            return math.log(y / self.bottom) / math.log(self.top / self.bottom)
        return (y - self.bottom) / (self.top - self.bottom)

    def middle(self) -> float:
        return math.sqrt(self.bottom * self.top) if self.log else (self.bottom + self.top) / 2


class Canvas:
    """Dots, two to a character across and four down; the curve drawn last colours a character."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._bits = [[0] * width for _ in range(height)]
        self._styles = [[""] * width for _ in range(height)]

    def draw(self, curve: Curve, frame: Frame, style: str) -> None:
        across, down = 2 * self.width - 1, 4 * self.height - 1
        before: tuple[int, int] | None = None
        for x, y in curve.points():
            if y is None:
                before = None
                continue
            here = (
                round((x - frame.left) / (frame.right - frame.left) * across),
                round((1 - frame.height(y)) * down),
            )
            for column, row in _between(before or here, here):
                self._bits[row // 4][column // 2] |= DOTS[row % 4][column % 2]
                self._styles[row // 4][column // 2] = style
            before = here

    def rows(self) -> Iterator[Text]:
        for bits, styles in zip(self._bits, self._styles, strict=True):
            row = Text()
            for bit, style in zip(bits, styles, strict=True):
                row.append(chr(0x2800 + bit) if bit else " ", style=style)
            yield row


def chart(title: str, curves: Sequence[Curve], *, width: int, height: int, x: str = "step") -> Text:
    """A chart with its scales, `width` characters wide and `height` high without legend and x.
    Losses that span much are drawn by their logarithm."""
    frame = Frame.around(curves, log=title.endswith("loss"))
    if frame is None:
        return Text("no points yet", style="dim")
    labels = {
        0: number(frame.top),
        height // 2: number(frame.middle()),
        height - 1: number(frame.bottom),
    }
    margin = max(map(len, labels.values())) + 1
    canvas = Canvas(max(width - margin - 1, 8), height)
    shown = Text(f"{title}{' (log)' if frame.log else ''} ")
    for index, curve in enumerate(curves):
        style = COLOURS[index % len(COLOURS)]
        canvas.draw(curve, frame, style)
        shown.append(" ━", style=style)
        shown.append(f" {curve.label}" if curve.label else "")
        shown.append("" if (last := curve.last()) is None else f" {number(last)}", style="bold")
    shown.append("\n")
    for index, row in enumerate(canvas.rows()):
        shown.append(labels.get(index, "").rjust(margin - 1), style="dim")
        shown.append(" ┤" if index in labels else " │", style="dim").append_text(row).append("\n")
    left, right = number(frame.left), f"{number(frame.right)} {x}"
    gap = " " * max(canvas.width - len(left) - len(right), 1)
    return shown.append(" " * (margin + 1) + left + gap + right, style="dim")


def together(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Curves of one kind, by kind. Baselines train after the student: their curves are moved to
    where its own begins, so that they can be compared."""
    groups: dict[str, list[Curve]] = {}
    known = [replace(one, label=TAUGHT_BY.get(one.label, one.label)) for one in curves]
    for curve in sorted(known, key=lambda one: one.label.count("/")):
        kind = "/".join(curve.label.split("/")[-2:])
        groups.setdefault(kind, []).append(curve)
    return {kind: _compared(kind, group) for kind, group in groups.items()}


def _compared(kind: str, group: list[Curve]) -> list[Curve]:
    start = group[0].x[0] if group[0].x else 0
    found = []
    for curve in group:
        who = curve.label.removesuffix(kind).rstrip("/")
        x = curve.x
        if who.startswith("baseline/") and x:
            x = [value - x[0] + start for value in x]
        label = who.removesuffix("/0") if who else "student" if len(group) > 1 else ""
        found.append(Curve(label, x, curve.y))
    return found


def number(value: float) -> str:
    """Short, and exact enough for a scale."""
    if value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.4g}"


def _between(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The dots of a straight line."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for step in range(steps + 1):
        part = step / steps
        yield (
            round(start[0] + (end[0] - start[0]) * part),
            round(start[1] + (end[1] - start[1]) * part),
        )
