"""Test errors over temperature, with error bars, as SVG."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from benchmarks.reproduce import hinton
from benchmarks.reproduce.records import Records
from benchmarks.reproduce.tables import seeds

WIDTH, HEIGHT = 360, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 44, 46
TICKS = (1, 2, 4, 8, 20)


@dataclass(frozen=True)
class Panel:
    """One curve, and the level of the same student without a teacher."""

    title: str
    points: Sequence[tuple[float, Sequence[float]]]
    """T and the errors of each seed."""
    plain: Sequence[float]
    paper: Sequence[tuple[float, float]] = ()


def over_temperature(records: Records) -> str:
    """Two panels: students of 800 and of 30 units a layer."""
    panels = (
        Panel(
            "800-800",
            _points(records, "a/kd", hinton.TEMPERATURES),
            _errors(records, "a/plain"),
            ((20, 74),),
        ),
        Panel(
            "30-30",
            _points(records, "a/small", hinton.SMALL_TEMPERATURES),
            _errors(records, "a/small-plain"),
        ),
    )
    parts = [_panel(panel, WIDTH * number) for number, panel in enumerate(panels)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}" '
            'font-family="system-ui, sans-serif" font-size="12" role="img" aria-labelledby="t">',
            '<title id="t">Test errors of MNIST students over the temperature</title>',
            f'<rect width="{2 * WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _errors(records: Records, experiment: str) -> list[float]:
    return [record["errors"] for record in seeds(records, experiment)]


def _points(
    records: Records, experiment: str, temperatures: Sequence[float]
) -> list[tuple[float, list[float]]]:
    found = [(t, _errors(records, f"{experiment}-{t}")) for t in sorted(temperatures)]
    return [(t, errors) for t, errors in found if errors]


def _panel(panel: Panel, left: int) -> str:
    lines = [f'<text x="{left + LEFT}" y="22" font-weight="600">student {panel.title}</text>']
    if not panel.points:
        return lines[0] + _text(left + LEFT, HEIGHT / 2, "not run yet", "start")
    values = [value for _, errors in panel.points for value in errors]
    values += [*panel.plain, *(value for _, value in panel.paper)]
    low, high = min(values), max(values)
    step = _step((high - low) or 1)
    floor, ceiling = step * math.floor(low / step), step * math.ceil(high / step)

    def x(temperature: float) -> float:
        share = math.log(temperature) / math.log(TICKS[-1])
        return left + LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        share = (value - floor) / ((ceiling - floor) or 1)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    for number in range(round((ceiling - floor) / step) + 1):
        value = floor + number * step
        lines.append(_line(left + LEFT, y(value), left + WIDTH - RIGHT, y(value), "#e4ded4"))
        lines.append(_text(left + LEFT - 8, y(value) + 4, f"{value:g}", "end"))
    for tick in TICKS:
        lines.append(_text(x(tick), HEIGHT - BOTTOM + 18, str(tick), "middle"))
    lines.append(_text(left + (LEFT + WIDTH) / 2, HEIGHT - 8, "T", "middle"))
    if panel.plain:
        level = y(mean(panel.plain))
        lines.append(_line(left + LEFT, level, left + WIDTH - RIGHT, level, "#3d6489", "5 4"))
        lines.append(_text(left + WIDTH - RIGHT, level - 5, "labels alone", "end", "#3d6489"))
    lines += [
        f'<circle cx="{x(t):.1f}" cy="{y(value):.1f}" r="5" fill="none" stroke="#2b241d"/>'
        + _text(x(t) - 9, y(value) + 4, "paper", "end")
        for t, value in panel.paper
    ]
    return "\n".join(lines + _curve(panel, x, y))


def _curve(panel: Panel, x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
    """Means joined by a line; bars of one standard deviation; every seed as a dot."""
    means = " ".join(f"{x(t):.1f},{y(mean(errors)):.1f}" for t, errors in panel.points)
    drawn = [f'<polyline points="{means}" fill="none" stroke="#b4612a" stroke-width="1.8"/>']
    for t, errors in panel.points:
        if len(errors) > 1:
            middle, deviation = mean(errors), stdev(errors)
            drawn.append(_line(x(t), y(middle - deviation), x(t), y(middle + deviation), "#b4612a"))
        drawn += [
            f'<circle cx="{x(t):.1f}" cy="{y(value):.1f}" r="2.2" fill="#b4612a"/>'
            for value in errors
        ]
    return drawn


def _step(extent: float) -> float:
    """A round distance of grid lines: four to nine of them."""
    power = 10 ** math.floor(math.log10(extent / 4))
    return next(power * one for one in (1, 2, 5, 10) if extent / (power * one) <= 8)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="1.4"{dashes}/>'
    )


def _text(x: float, y: float, words: str, anchor: str, colour: str = "#5c5247") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'
