"""Charts as SVG: what all pictures of a report share. Text of clients is escaped here."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
.chart{color-scheme:light dark;--paper:#fff;--ink:#1f2328;--soft:#59636e;--line:#d8dee4;
--one:#0b62c4;--two:#b35900}
@media(prefers-color-scheme:dark){.chart{--paper:#0d1117;--ink:#e6edf3;--soft:#9198a1;--line:#30363d;
--one:#58a6ff;--two:#f0a35e}}
.chart text{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:var(--ink)}
.chart .t{font-size:15px;font-weight:600}
.chart .s{fill:var(--soft)}
.chart .b{font-weight:600}
.chart .m{text-anchor:middle}
.chart .e{text-anchor:end}
.chart .paper{fill:var(--paper)}
.chart .grid{stroke:var(--line)}
.chart .axis{stroke:var(--soft)}
.chart .dash{stroke-dasharray:4 4;fill:none}
.chart .l1,.chart .l2{fill:none;stroke-width:2.5;stroke-linejoin:round}
.chart .l1{stroke:var(--one)}
.chart .l2{stroke:var(--two)}
.chart .f1{fill:var(--one)}
.chart .f2{fill:var(--two)}
.chart .band{fill:var(--one);fill-opacity:.12}
.chart .over{fill:var(--paper)}
""".replace("\n", "")
"""Light or dark as the reader's system is."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """From values to places, straight or over the logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (self.end - self.start) * (value - low) / (high - low)


def chart(width: float, height: float, title: str, told: str, parts: Iterable[str]) -> str:
    """A whole picture with its heading; `told` says in words what it shows."""
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)}'
        f' {_n(height)}" width="{_n(width)}" height="{_n(height)}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(told)}</desc><style>{STYLE}</style>"
        f'<rect class="paper" width="100%" height="100%"/>{text(20, 28, title, "t")}'
        f"{''.join(parts)}</svg>"
    )


def text(x: float, y: float, words: str, kind: str = "", **more: str) -> str:
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in more.items())
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{_n(x)}" y="{_n(y)}"{named}{attributes}>{escape(words)}</text>'


def line(a: Point, b: Point, kind: str) -> str:
    return f'<path class="{kind}" d="M{_at(a)}L{_at(b)}"/>'


def polyline(points: Sequence[Point], kind: str) -> str:
    return f'<path class="{kind}" d="M{"L".join(map(_at, points))}"/>'


def rect(
    x: float, y: float, width: float, height: float, kind: str, *, opacity: float | None = None
) -> str:
    faded = "" if opacity is None else f' fill-opacity="{_n(opacity)}"'
    return (
        f'<rect class="{kind}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}"'
        f' height="{_n(height)}"{faded}/>'
    )


def dot(at: Point, radius: float, kind: str) -> str:
    return f'<circle class="{kind}" cx="{_n(at[0])}" cy="{_n(at[1])}" r="{_n(radius)}"/>'


def shortened(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"


def _at(point: Point) -> str:
    return f"{_n(point[0])} {_n(point[1])}"


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
