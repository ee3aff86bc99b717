"""How a larger network of the same family can start as the same function: seen from shapes alone.

A teacher is first made deeper, by layers that change nothing, then wider, by copies of its units
(Chen, Goodfellow and Shlens 2016, arXiv 1511.05641).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from app.spec.networks import MLP, VGG, ConvNet, Network, ResNet, WideResNet
from app.spec.shapes import OPTIONAL, Shape, Tracer, Value


@dataclass(frozen=True)
class Axis:
    """One dimension of a tensor: the units that it runs over."""

    units: int
    """Which units: dimensions of the same number are widened alike."""
    reads: bool
    """Whether the tensor reads these units, rather than making them."""
    each: int = 1
    """Entries for each unit: pixels, where maps are flattened."""


class UnitTracer(Tracer):
    """Follows which units each dimension of each tensor runs over. Sums make units one."""

    def __init__(self) -> None:
        super().__init__()
        self.axes: dict[str, tuple[Axis, ...]] = {}
        self._units: dict[Value, int] = {}
        self._same: list[int] = []

    def conv(
        self,
        name: str,
        x: Value,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        bias: bool = False,
    ) -> Value:
        made = super().conv(name, x, channels, kernel, stride=stride, bias=bias)
        out = Axis(self._of(made), reads=False)
        self.axes[f"{name}.weight"] = (out, Axis(self._of(x), reads=True))
        if bias:
            self.axes[f"{name}.bias"] = (out,)
        return made

    def linear(self, name: str, x: Value, outputs: int) -> Value:
        made = super().linear(name, x, outputs)
        out = Axis(self._of(made), reads=False)
        read = Axis(self._of(x), reads=True, each=prod(x.shape[1:]))
        self.axes[f"{name}.weight"] = (out, read)
        self.axes[f"{name}.bias"] = (out,)
        return made

    def batch_norm(self, name: str, x: Value) -> Value:
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            self.axes[f"{name}.{tensor}"] = (Axis(self._of(x), reads=False),)
        self.axes[f"{name}{OPTIONAL}"] = ()
        return self._like(x, super().batch_norm(name, x))

    def relu(self, x: Value) -> Value:
        return self._like(x, super().relu(x))

    def dropout(self, x: Value, rate: float) -> Value:
        return self._like(x, super().dropout(x, rate))

    def max_pool(self, x: Value) -> Value:
        return self._like(x, super().max_pool(x))

    def global_mean(self, x: Value) -> Value:
        return self._like(x, super().global_mean(x))

    def add(self, x: Value, branch: Value) -> Value:
        self._same[self._root(self._of(branch))] = self._root(self._of(x))
        return self._like(x, super().add(x, branch))

    def settled(self) -> dict[str, tuple[Axis, ...]]:
        """The axes, units that are the same under one number."""
        return {
            name: tuple(Axis(self._root(axis.units), axis.reads, axis.each) for axis in axes)
            for name, axes in self.axes.items()
        }

    def _of(self, x: Value) -> int:
        if x not in self._units:
            self._units[x] = len(self._same)
            self._same.append(len(self._same))
        return self._units[x]

    def _like(self, x: Value, made: Value) -> Value:
        self._units[made] = self._of(x)
        return made

    def _root(self, units: int) -> int:
        while self._same[units] != units:
            units = self._same[units]
        return units


@lru_cache(maxsize=64)
def axes(network: Network) -> Mapping[str, tuple[Axis, ...]]:
    """For every tensor what its leading dimensions run over; kernels' sides are left out."""
    tracer = UnitTracer()
    network.follow(tracer, Value(network.input_shape))
    return tracer.settled()


@dataclass(frozen=True)
class Growth:
    """From a teacher to a larger student, over a network as deep as one, as wide as the other."""

    deeper: Network
    """The teacher's widths at the student's depth."""
    sources: Mapping[str, str]
    """From tensors of `deeper` to the teacher's; those that lack are of new layers."""


def growth(teacher: Network, student: Network) -> Growth:
    """Raises ValueError, naming both shapes, when the student cannot start as the teacher."""
    if student.family != teacher.family:
        raise ValueError(f"the teacher is a {teacher.family}, the student a {student.family}")
    if student.input_shape != teacher.input_shape or student.classes != teacher.classes:
        raise ValueError(
            f"the teacher reads {_sizes(teacher.input_shape)} for {teacher.classes} classes, "
            f"the student {_sizes(student.input_shape)} for {student.classes}"
        )
    found = _deepened(teacher, student)
    mine, theirs = student.tensors, found.deeper.tensors
    if unlike := sorted(mine.keys() ^ theirs.keys()):
        raise ValueError(
            f"only one of them has {unlike[0]!r} where a stage changes its channels: start from a "
            "teacher that has the same shortcuts"
        )
    for name, shape in theirs.items():
        if any(small > large for small, large in zip(shape, mine[name], strict=True)):
            raise ValueError(
                f"tensor {name!r} would be {_sizes(mine[name])} in the student, smaller than the "
                f"teacher's {_sizes(shape)}"
            )
    return found


def _deepened(teacher: Network, student: Network) -> Growth:
    match teacher, student:
        case MLP(), MLP():
            places = _places(teacher.hidden, student.hidden)
            deeper = student.model_copy(
                update={"hidden": tuple(teacher.hidden[place] for place in places)}
            )
            return Growth(deeper, _layers(places))
        case ConvNet(), ConvNet():
            if len(teacher.channels) != len(student.channels):
                raise ValueError(
                    f"the teacher has {len(teacher.channels)} stages, the student "
                    f"{len(student.channels)}, and every stage halves the image"
                )
            places = _places(teacher.hidden, student.hidden)
            hidden = tuple(teacher.hidden[place] for place in places)
            update = {"channels": teacher.channels, "hidden": hidden}
            stages = {name: name for name in teacher.tensors if name.startswith("stages.")}
            return Growth(
                student.model_copy(update=update), stages | _layers(places, prefix="head.")
            )
        case ResNet(), ResNet():
            return _blocks(teacher, student.model_copy(update={"width": teacher.width}))
        case WideResNet(), WideResNet():
            return _blocks(teacher, student.model_copy(update={"widen": teacher.widen}))
        case VGG(), VGG():
            return _blocks(teacher, student)
    raise ValueError(f"a {teacher.family} cannot be grown")


def _blocks(teacher: Network, deeper: Network) -> Growth:
    """Where further blocks are appended to a stage, the others keep their names."""
    if missing := sorted(teacher.tensors.keys() - deeper.tensors.keys()):
        raise ValueError(
            f"the teacher's {missing[0]!r} ({_sizes(teacher.tensors[missing[0]])}) has no "
            "counterpart: the student is not as deep"
        )
    return Growth(deeper, {name: name for name in teacher.tensors})


def _places(teacher: Sequence[int], student: Sequence[int]) -> tuple[int, ...]:
    """For each hidden layer of the student the teacher's that it starts from, in order, all of
    them used; one that comes again is an identity. No layer may be narrower than its source."""
    paths: dict[int, tuple[int, ...]] = {-1: ()}
    for width in student:
        longer: dict[int, tuple[int, ...]] = {}
        for at, path in paths.items():
            for place in (at, at + 1):
                if 0 <= place < len(teacher) and width >= teacher[place]:
                    longer.setdefault(place, (*path, place))
        paths = longer
    if len(teacher) - 1 not in paths:
        raise ValueError(
            f"hidden layers of {list(teacher)} units cannot become {list(student)}: every layer "
            "of the teacher needs one as wide, in the same order"
        )
    return paths[len(teacher) - 1]


def _layers(places: Sequence[int], prefix: str = "") -> dict[str, str]:
    """Sources of the dense layers: first uses, and the classifier."""
    pairs = [(i, place) for i, place in enumerate(places) if place not in places[:i]]
    pairs.append((len(places), places[-1] + 1 if places else 0))
    return {
        f"{prefix}layers.{i}.{part}": f"{prefix}layers.{place}.{part}"
        for i, place in pairs
        for part in ("weight", "bias")
    }


def _sizes(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "a scalar"
