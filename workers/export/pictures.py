"""A card's pictures, each a function of the report and the curves alone."""

from collections.abc import Sequence
from typing import Any

from workers.engine.curves import Curves
from workers.export import svg

SIDES = ("teacher", "student", "baseline")
MOST_CLASSES = 24
"""Rows of the picture by class."""

Points = Sequence[tuple[float, float]]


def pictures(report: dict[str, Any], curves: Curves) -> dict[str, str]:
    """By file name; one that has nothing to show is not there."""
    made = {
        "curves.svg": _curves(report, curves),
        "reliability.svg": _reliability(report),
        "per_class.svg": _per_class(report),
    }
    return {name: text for name, text in made.items() if text is not None}


def _curves(report: dict[str, Any], curves: Curves) -> str | None:
    """Accuracy on validation and loss in training, over the epochs."""
    measured = {side: _curve(curves, side, "validation/accuracy") for side in SIDES}
    what, title = "accuracy", "Accuracy on validation"
    if not measured["student"]:
        measured = {side: _curve(curves, side, "validation/agreement") for side in SIDES}
        what, title = "agreement", "Agreement with the teacher on validation"
    losses = {side: _curve(curves, side, "train/loss") for side in SIDES}
    every = [x for some in (measured, losses) for points in some.values() for x, _ in points]
    epochs = max(every, default=0)
    if not epochs:
        return None
    teacher = (report["teacher"] or {}).get("accuracy") if what == "accuracy" else None
    seen = [y for points in measured.values() for _, y in points]
    body = []
    if seen:
        low = _round_down(min([*seen, teacher] if teacher is not None else seen))
        frame = svg.Frame(52, 52, 290, 170, (0, epochs), (low, 1.0))
        body.append(frame.grid(title, "epochs", percent=True))
        if teacher is not None:
            body.append(frame.line([(0, teacher), (epochs, teacher)], "teacher dash"))
        body += [_line(frame, points, side) for side, points in measured.items() if points]
    shown = [y for points in losses.values() for _, y in points]
    if shown:
        # The first steps are far above all others; what matters would be a line at the bottom.
        top = max(sorted(shown)[int(0.98 * (len(shown) - 1))], 1e-6)
        frame = svg.Frame(412, 52, 290, 170, (0, epochs), (0.0, 1.05 * top))
        body.append(frame.grid("Loss in training", "epochs"))
        body += [_line(frame, points, side) for side, points in losses.items() if points]
    sides = [side for side in SIDES if measured[side] or losses[side]]
    entries = [(side, side) for side in sides]
    if teacher is not None:
        entries.append(("teacher", f"teacher, on the {report['split']} split"))
    body.append(svg.legend(52, 20, entries))
    words = f"{title} and the loss in training over {epochs:g} epochs."
    return svg.document(720, 270, "Curves", words, "\n".join(body))


def _curve(curves: Curves, side: str, ending: str) -> Points:
    """The one that belongs to a side: the plain name, or the last stage's of that ending."""
    prefix = {"student": "", "baseline": "baseline/0/"}.get(side)
    if prefix is None:
        return ()
    if prefix + ending in curves:
        return curves[prefix + ending]
    others = [
        key
        for key in curves
        if key.endswith("/" + ending)
        and key.startswith(prefix)
        and not key.startswith(("student/", "baseline/", "control/"))
    ]
    return curves[others[-1]] if others else ()


def _line(frame: svg.Frame, points: Points, side: str) -> str:
    if len(points) == 1:
        return frame.dot(*points[0], side)
    return frame.line(points, side)


def _round_down(value: float) -> float:
    """To a tenth, or as far below 1 as leaves something to see."""
    for low in (0.99, 0.98, 0.95):
        if value > low:
            return low
    return max(int(10 * value) / 10, 0.0) if value < 0.9 else 0.9


def _reliability(report: dict[str, Any]) -> str | None:
    """Accuracy over confidence: on the diagonal, they are the same (Guo et al. 2017)."""
    sides = [side for side in SIDES if (report[side] or {}).get("reliability")]
    if not sides:
        return None
    frame = svg.Frame(52, 52, 300, 300, (0.0, 1.0), (0.0, 1.0))
    body = [
        frame.grid("Accuracy at each confidence", "confidence", percent=True),
        f'<path class="f dash" d="M{frame.left} {frame.y(0)}L{frame.x(1)} {frame.top}"/>',
    ]
    for side in sides:
        bins = report[side]["reliability"]
        total = sum(row["examples"] for row in bins)
        points = [(row["confidence"], row["accuracy"]) for row in bins]
        body.append(_line(frame, points, side))
        for row, point in zip(bins, points, strict=True):
            body.append(frame.dot(*point, side, 2 + 6 * (row["examples"] / total) ** 0.5))
    told = [(side, f"{side} ECE {report[side]['ece']:.3f}") for side in sides]
    body.append(svg.legend(20, 20, told))
    words = "Share of right answers over the mean confidence, in bins; the larger a dot, the more"
    return svg.document(
        440, 400, "Reliability", f"{words} of the {report['split']} examples.", "\n".join(body)
    )


def _per_class(report: dict[str, Any]) -> str | None:
    """Accuracy of each class on each side; of many classes, those that the student knows least."""
    sides = [side for side in SIDES if (report[side] or {}).get("per_class")]
    if "student" not in sides:
        return None
    rows = [row for row in report["student"]["per_class"] if row["examples"]]
    chosen = sorted(rows, key=lambda row: (row["accuracy"], row["class"]))[:MOST_CLASSES]
    shown = chosen if len(rows) > MOST_CLASSES else rows
    by_class = {
        side: {row["class"]: row["accuracy"] for row in report[side]["per_class"]} for side in sides
    }
    values = [by_class[side][row["class"]] for side in sides for row in shown]
    low = _round_down(min(value for value in values if value is not None))
    height = 18 * len(shown)
    frame = svg.Frame(150, 52, 480, height, (low, 1.0), (0.0, len(shown)))
    title = "Accuracy of each class"
    if shown is chosen:
        title = f"The {len(shown)} classes of {len(rows)} with the lowest accuracy"
    body = [svg.words(150, 42, title, "h")]
    for value in svg.ticks(low, 1.0, 6):
        x = frame.x(value)
        body.append(f'<path class="g" d="M{x:.1f} 52V{52 + height}"/>')
        body.append(svg.words(x, 68 + height, svg.number(value, percent=True), "m"))
    for at, row in enumerate(shown):
        y = len(shown) - at - 0.5
        body.append(svg.words(142, frame.y(y) + 4, _short(row["name"]), "e"))
        body.append(svg.words(640, frame.y(y) + 4, f"{row['examples']:,}"))
        for side in sides:
            value = by_class[side][row["class"]]
            if value is not None:
                # One above another: often two sides know a class equally well.
                body.append(frame.dot(value, y + 0.25 * (1 - SIDES.index(side)), side, 3.5))
    body.append(svg.words(640, 42, "examples"))
    body.append(svg.legend(20, 20, [(side, side) for side in sides]))
    words = f"{title}, on the {report['split']} split."
    return svg.document(720, 84 + height, "Classes", words, "\n".join(body))


def _short(name: str) -> str:
    return name if len(name) <= 20 else name[:19] + "…"
