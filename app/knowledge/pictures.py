"""The pictures of a report, drawn from its numbers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

from app.knowledge.advice import Advice
from app.knowledge.svg import Point, Scale, chart, dot, line, polyline, rect, shortened, text
from app.spec.knowledge import Calibration, Confused, Knowledge, Reliability, Similarity

TICKS = (1, 2, 4, 8, 20, 40)
MOST_CELLS = 32
"""Classes that a matrix shows: the most alike ones, where there are more."""
NUMBERED = 12
"""Up to so many classes each cell says its number."""
TURNED = 10
"""Letters of a name that stands above its column."""


@dataclass(frozen=True)
class Exhibit:
    """What a picture is drawn from."""

    knowledge: Knowledge
    advice: Advice
    names: Sequence[str]
    """Of the classes."""

    def name(self, label: int, most: int = 14) -> str:
        return shortened(self.names[label], most)


def softness(exhibit: Exhibit) -> str:
    """Entropy and mass off the target, over T."""
    told, advice = exhibit.knowledge.softness, exhibit.advice
    x = Scale(told[0].temperature, told[-1].temperature, 60, 520, log=True)
    y = Scale(0, 1, 320, 60)

    def parts() -> Iterator[str]:
        left, right = x(advice.lowest), x(advice.highest)
        yield rect(left, 60, max(right - left, 2), 260, "band")
        for share in (0, 0.25, 0.5, 0.75, 1):
            yield line((60, y(share)), (520, y(share)), "grid")
            yield text(52, y(share) + 4, f"{share:.0%}", "s e")
        for tick in TICKS:
            yield line((x(tick), 320), (x(tick), 325), "axis")
            yield text(x(tick), 341, str(tick), "s m")
        yield text(290, 364, "temperature T", "s m")
        curves = (
            ("l1", "f1 b", "entropy", "of log C", [one.entropy_share for one in told]),
            ("l2", "f2 b", "mass", "off the target", [one.off_target for one in told]),
        )
        # Their names stand at their ends, apart from each other.
        ends = [y(curve[-1][-1]) for curve in curves]
        if abs(ends[0] - ends[1]) < 34:
            middle = sum(ends) / 2
            ends = [middle - 17, middle + 17] if ends[0] <= ends[1] else [middle + 17, middle - 17]
        for (stroke, fill, name, of, values), end in zip(curves, ends, strict=True):
            pairs = zip(told, values, strict=True)
            yield polyline([(x(one.temperature), y(value)) for one, value in pairs], stroke)
            yield text(530, end, name, fill)
            yield text(530, end + 14, of, "s")
        low, high = advice.lowest, advice.highest
        edge = min(max((left + right) / 2, 110), 470)
        yield text(edge, 54, f"advised: T {low:g} to {high:g}", "f1 b m")

    first, last = told[0], told[-1]
    words = (
        f"From T {first.temperature:g} to {last.temperature:g} the entropy of the soft targets"
        f" rises from {first.entropy_share:.0%} to {last.entropy_share:.0%} of the greatest"
        f" possible, the mass off the target from {first.off_target:.0%} to {last.off_target:.0%}."
    )
    return chart(640, 380, "How soft the targets are", words, parts())


def similarity(exhibit: Exhibit) -> str | None:
    """Where the mass off the target goes; None for more classes than a matrix is told of."""
    told = exhibit.knowledge.similarity
    matrix = told.matrix
    if matrix is None:
        return None
    shown = _shown(told, len(matrix))
    side = min(40.0, 520 / len(shown))
    longest = max(len(exhibit.name(c)) for c in shown)
    left, top = 60.0 + 7 * longest, 92.0 + 4.5 * min(longest, TURNED)
    size = side * len(shown)
    most = max((row[j] for c in shown if (row := matrix[c]) for j in shown), default=0.0)

    def parts() -> Iterator[str]:
        yield text(20, 48, _subtitle(told, len(shown), len(matrix)), "s")
        yield text(left + size / 2, 72, "the teacher finds it like", "s m")
        yield text(
            16,
            top + size / 2,
            "example of",
            "s m",
            transform=f"rotate(-90 16 {top + size / 2:.0f})",
        )
        for row, c in enumerate(shown):
            middle = (row + 0.5) * side + 4
            yield text(left - 8, top + middle, exhibit.name(c), "e")
            at = left + middle
            turn = f"rotate(-45 {at:.1f} {top - 8:.1f})"
            yield text(at, top - 8, exhibit.name(c, TURNED), transform=turn)
            shares = matrix[c]
            for column, j in enumerate(shown):
                x, y = left + column * side, top + row * side
                if shares is None or c == j:
                    yield rect(x + side / 2 - 1, y + side / 2 - 1, 2, 2, "band")
                    continue
                depth = sqrt(shares[j] / most) if most else 0.0
                yield rect(x + 0.5, y + 0.5, side - 1, side - 1, "f1", opacity=depth)
                if len(shown) <= NUMBERED:
                    kind = "over m" if depth > 0.6 else "m"
                    yield text(x + side / 2, y + side / 2 + 4, f"{shares[j]:.0%}"[:-1], kind)

    words = f"The similarity matrix of {len(shown)} classes; the largest share is {most:.0%}."
    width = max(left + size + 60, 480)
    return chart(width, top + size + 24, "Which classes are alike", words, parts())


def _subtitle(told: Similarity, shown: int, classes: int) -> str:
    number = "percent of the mass off the target" if shown <= NUMBERED else "mass off the target"
    which = "" if shown == classes else f", the {shown} most alike of {classes} classes"
    return f"{number} at T {told.temperature:g}, {told.chance:.1%} by chance{which}"


def _shown(told: Similarity, classes: int) -> list[int]:
    if classes <= MOST_CELLS:
        return list(range(classes))
    named = [label for pair in told.confused for label in pair.classes]
    return sorted(set(named[:MOST_CELLS]))


def confused(exhibit: Exhibit) -> str | None:
    """The pairs that are most alike; None where none were looked for."""
    told = exhibit.knowledge.similarity
    if not told.confused:
        return None
    x = Scale(0, max(one.similarity for one in told.confused), 0, 300)

    def parts() -> Iterator[str]:
        yield text(20, 48, f"share of the mass off the target, at T {told.temperature:g}", "s")
        for row, pair in enumerate(told.confused):
            y = 66 + 26 * row
            yield text(230, y + 14, _pair(exhibit, pair), "e")
            yield rect(240, y, x(pair.similarity), 18, "f1")
            yield text(246 + x(pair.similarity), y + 14, f"{pair.similarity:.1%}", "s")
        bottom = 66 + 26 * len(told.confused)
        chance = 240 + x(told.chance)
        yield line((chance, 60), (chance, bottom), "axis dash")
        yield text(chance, bottom + 14, f"chance {told.chance:.1%}", "s m")

    first = told.confused[0]
    words = f"The most alike are {_pair(exhibit, first)}, {first.similarity:.0%}."
    height = 66 + 26 * len(told.confused) + 28
    return chart(620, height, "The most confused pairs", words, parts())


def _pair(exhibit: Exhibit, pair: Confused) -> str:
    first, second = pair.classes
    return f"{exhibit.name(first)} and {exhibit.name(second)}"


def calibration(exhibit: Exhibit) -> str | None:
    """Accuracy over confidence; None without labels."""
    told = exhibit.knowledge.calibration
    if told is None:
        return None
    x, y = Scale(0, 1, 60, 400), Scale(0, 1, 400, 60)

    def parts() -> Iterator[str]:
        for share in (0, 0.25, 0.5, 0.75, 1):
            yield line((60, y(share)), (400, y(share)), "grid")
            yield text(52, y(share) + 4, f"{share:.0%}", "s e")
            yield text(x(share), 418, f"{share:.0%}", "s m")
        yield text(230, 440, "confidence (top probability)", "s m")
        yield text(60, 50, "accuracy", "s m")
        yield line((x(0), y(0)), (x(1), y(1)), "axis dash")
        for k, (reliability, name) in enumerate(_sides(told)):
            kind = k + 1
            points = list(_points(reliability, x, y))
            yield polyline([at for at, _ in points], f"l{kind}")
            for at, share in points:
                yield dot(at, 2.5 + 9 * sqrt(share), f"f{kind}")
            yield text(420, 90 + 62 * k, name, f"f{kind} b")
            yield text(420, 108 + 62 * k, f"ECE {reliability.ece:.4f}")
            yield text(420, 124 + 62 * k, f"NLL {reliability.nll:.4f}")
        yield text(420, 230, "area: share of examples", "s")
        yield text(420, 246, "dashed: as sure as right", "s")
        yield text(420, 280, f"{told.examples:,} examples of {told.split}", "s")

    words = f"Expected calibration error {told.plain.ece:.4f} on {told.split}"
    if told.calibrated is not None:
        words += f", {told.calibrated.ece:.4f} at T {told.temperature:.2f}"
    return chart(620, 456, "How far its confidence can be trusted", f"{words}.", parts())


def _sides(told: Calibration) -> Iterator[tuple[Reliability, str]]:
    yield told.plain, "as it is (T 1)"
    if told.calibrated is not None:
        yield told.calibrated, f"at T {told.temperature:.2f}"


def _points(told: Reliability, x: Scale, y: Scale) -> Iterator[tuple[Point, float]]:
    examples = sum(one.examples for one in told.bins)
    for one in told.bins:
        if one.confidence is not None and one.accuracy is not None:
            yield (x(one.confidence), y(one.accuracy)), one.examples / examples


PICTURES: dict[str, Callable[[Exhibit], str | None]] = {
    "softness": softness,
    "similarity": similarity,
    "confused": confused,
    "calibration": calibration,
}
"""By name; None where a report has nothing to draw it from."""
