"""Which layer of a student belongs to which layer of a teacher, from the shapes of both alone.

Layers are taps (`Network.taps`): name -> shape of one example's output, in the order of the forward
pass. A map is C x H x W, a vector has one dimension.
"""

from collections.abc import Mapping

from app.spec.shapes import Shape

Taps = Mapping[str, Shape]
Pair = tuple[str, str]
"""A teacher's layer and a student's."""


def maps(taps: Taps) -> list[str]:
    """The layers with feature maps."""
    return [name for name, shape in taps.items() if len(shape) == 3]


def vectors(taps: Taps) -> list[str]:
    """The layers with one number a unit."""
    return [name for name, shape in taps.items() if len(shape) == 1]


def common(teacher: Taps, student: Taps) -> list[str]:
    """The teacher's maps where both networks have maps, else its vectors where both have any."""
    for kind in (maps, vectors):
        if kind(teacher) and kind(student):
            return kind(teacher)
    return []


def counterpart(name: str, here: Taps, there: Taps) -> str | None:
    """The layer of `there` that stands where `name` stands in `here`; None where there is none.

    That is the layer of the same name; for maps else the last one of the same height and width, or
    the last of the next larger ones, or of the nearest; for vectors the one at the same depth.
    """
    shape = here[name]
    if len(there.get(name, ())) == len(shape):
        return name
    if len(shape) == 1:
        own, others = vectors(here), vectors(there)
        if not others:
            return None
        depth = own.index(name) / max(len(own) - 1, 1) if len(own) > 1 else 1.0
        return others[round(depth * (len(others) - 1))]
    if not maps(there):
        return None
    size = shape[1] * shape[2]

    def distance(other: str) -> tuple[bool, int]:
        gap = there[other][1] * there[other][2] - size
        return gap < 0, abs(gap)

    return min(reversed(maps(there)), key=distance)


def written(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def listed(taps: Taps) -> str:
    """Names with their shapes, for a person who has to choose."""
    return ", ".join(f"{name} ({written(shape)})" for name, shape in taps.items()) or "none"
