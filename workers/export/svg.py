"""A few marks in SVG: enough for a card's pictures, light and dark, with no font of its own.

The same numbers give the same bytes.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

STYLE = """\
text{font:12px system-ui,sans-serif;fill:#374151}.h{font-weight:600}.e{text-anchor:end}\
.m{text-anchor:middle}.g{stroke:#e5e7eb}.f{stroke:#9ca3af;fill:none}\
.teacher{--c:#6b7280}.student{--c:#2563eb}.baseline{--c:#d97706}\
.l{stroke:var(--c);fill:none;stroke-width:1.75}.d{fill:var(--c)}.dash{stroke-dasharray:5 4}\
@media(prefers-color-scheme:dark){text{fill:#d1d5db}.g{stroke:#374151}.f{stroke:#6b7280}\
.teacher{--c:#9ca3af}.student{--c:#60a5fa}.baseline{--c:#fbbf24}}"""


def document(width: float, height: float, title: str, description: str, body: str) -> str:
    """A picture with words for those who do not see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-labelledby="t d">\n'
        f'<title id="t">{escape(title)}</title>\n<desc id="d">{escape(description)}</desc>\n'
        f"<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def words(x: float, y: float, text: str, css: str = "") -> str:
    """`css`: h is bold, m centred, e ends at x."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}">{escape(text)}</text>'


def legend(x: float, y: float, entries: Iterable[tuple[str, str]]) -> str:
    """(class, words) one after another on a line."""
    marks = []
    for css, text in entries:
        marks.append(f'<circle cx="{x:.1f}" cy="{y - 4:.1f}" r="4" class="d {css}"/>')
        marks.append(words(x + 9, y, text))
        x += 30 + 6.4 * len(text)
    return "\n".join(marks)


@dataclass(frozen=True)
class Frame:
    """A plot's rectangle, and the numbers at its edges."""

    left: float
    top: float
    width: float
    height: float
    xs: tuple[float, float]
    ys: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.xs
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.ys
        return self.top + self.height * (high - value) / (high - low)

    def grid(self, title: str, x_label: str, *, percent: bool = False) -> str:
        """Lines and numbers at round values, and the words around."""
        bottom, right = self.top + self.height, self.left + self.width
        marks = [words(self.left, self.top - 10, title, "h")]
        for value in ticks(*self.ys, 5):
            y = self.y(value)
            marks.append(f'<path class="g" d="M{self.left:.1f} {y:.1f}H{right:.1f}"/>')
            marks.append(words(self.left - 6, y + 4, number(value, percent=percent), "e"))
        for value in ticks(*self.xs, 6):
            marks.append(words(self.x(value), bottom + 16, number(value), "m"))
        marks.append(words(self.left + self.width / 2, bottom + 32, x_label, "m"))
        marks.append(
            f'<rect class="f" x="{self.left:.1f}" y="{self.top:.1f}" '
            f'width="{self.width:.1f}" height="{self.height:.1f}"/>'
        )
        return "\n".join(marks)

    def line(self, points: Sequence[tuple[float, float]], css: str) -> str:
        """What lies below the frame is drawn on its edge."""
        low, high = self.ys
        path = "L".join(f"{self.x(x):.1f} {self.y(min(max(y, low), high)):.1f}" for x, y in points)
        return f'<path class="l {css}" d="M{path}"/>'

    def dot(self, x: float, y: float, css: str, radius: float = 3.0) -> str:
        return (
            f'<circle class="d {css}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius:.1f}"/>'
        )


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values between two numbers, at most `most` steps apart: 1, 2 or 5 times a power."""
    span = max(high - low, 1e-12)
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def number(value: float, *, percent: bool = False) -> str:
    return f"{100 * value:g} %" if percent else f"{value:g}"
