"""What methods on inner layers share: how a job names layers, and when they can be compared."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from app.spec.methods.base import Flaw, Method
from app.spec.methods.pairing import Pair, Taps, counterpart, listed, written
from app.spec.networks import Network
from app.spec.shapes import Shape

Layer = Annotated[str, Field(min_length=1, max_length=200)]
Layers = tuple[Layer, ...]


class FeatureMethod(Method):
    """What methods on inner layers share: one teacher with a checkpoint, and pairs of layers.

    Layers are named as `GET /teachers/{id}` and `GET /networks` list them under `taps`. Those of
    one network alone may be given: the other's are then those that stand in the same places.
    """

    teachers: ClassVar[tuple[int, int | None]] = (1, 1)
    fields: ClassVar[tuple[str, str]] = ("teacher_layers", "student_layers")
    """Which parameters name the teacher's and the student's layers."""
    fewest: ClassVar[int] = 1
    """Pairs of layers without which there is no loss."""

    @property
    def given(self) -> tuple[Layers | None, Layers | None]:
        """The teacher's and the student's layers, where the job names them."""
        found = (getattr(self, name) for name in self.fields)
        teacher, student = ((one,) if isinstance(one, str) else one for one in found)
        return teacher, student

    @abstractmethod
    def favourites(self, teacher: Taps, student: Taps) -> list[str]:
        """The teacher's layers when none are named."""

    @abstractmethod
    def mismatch(self, teacher: Shape, student: Shape) -> str | None:
        """Why two layers of these shapes cannot be compared."""

    def counterpart(self, name: str, here: Taps, there: Taps) -> str | None:
        return counterpart(name, here, there)

    def pairs(self, teacher: Network, student: Network) -> tuple[Pair, ...]:
        """The layers that are compared; what has no counterpart is left out."""
        theirs, own = self.given
        t, s = teacher.taps, student.taps
        if theirs is None and own is None:
            theirs = tuple(self.favourites(t, s))
        found: list[tuple[str | None, str | None]]
        if theirs is not None and own is not None:
            found = list(zip(theirs, own, strict=True))
        elif theirs is not None:
            found = [(name, self.counterpart(name, t, s)) for name in theirs]
        else:
            found = [(self.counterpart(name, s, t), name) for name in own or ()]
        known = [(a, b) for a, b in found if a is not None and b is not None]
        if self.given == (None, None):  # of two that fall on one student layer, the later
            last = {b: a for a, b in known}
            known = [(a, b) for a, b in known if last[b] == a]
        return tuple(known)

    def flaws(self, student: Network, teachers: Sequence[Network]) -> Iterator[Flaw]:
        yield from super().flaws(student, teachers)
        if len(teachers) != 1:
            detail = f"{self.title} needs a teacher's checkpoint: recorded outputs have no layers."
            yield "/teachers", "checkpoint_required", detail
            return
        teacher = teachers[0]
        unknown = list(self._unknown(teacher, student))
        yield from unknown
        if unknown:
            return
        pairs = self.pairs(teacher, student)
        if len(pairs) < self.fewest:
            detail = (
                f"{self.title} finds too few layers to compare. The teacher's are "
                f"{listed(teacher.taps)}; the student's {listed(student.taps)}."
            )
            yield "/method", "no_matching_layers", detail
            return
        for theirs, own in pairs:
            shapes = teacher.taps[theirs], student.taps[own]
            reason = self.mismatch(*shapes)
            if reason is not None:
                detail = (
                    f"The teacher's {theirs} is {written(shapes[0])}, the student's {own} "
                    f"{written(shapes[1])}: {reason}."
                )
                yield "/method", "layer_shape_mismatch", detail

    def _unknown(self, teacher: Network, student: Network) -> Iterator[Flaw]:
        sides = zip(
            ("teacher", "student"), (teacher, student), self.fields, self.given, strict=True
        )
        for side, network, field, names in sides:
            for index, name in enumerate(names or ()):
                if name not in network.taps:
                    place = "" if isinstance(getattr(self, field), str) else f"/{index}"
                    detail = f"The {side} has no layer {name!r}. It has {listed(network.taps)}."
                    yield f"/method/{field}{place}", "unknown_layer", detail

    @model_validator(mode="after")
    def _as_many_of_each(self) -> Self:
        teacher, student = self.given
        for field, names in zip(self.fields, (teacher, student), strict=True):
            if names is not None and len(set(names)) != len(names):
                raise ValueError(f"{field} names a layer twice")
            if names is not None and len(names) < self.fewest:
                raise ValueError(f"{field} must name {self.fewest} or more")
        if teacher is not None and student is not None and len(teacher) != len(student):
            raise ValueError(f"{' and '.join(self.fields)} must name as many layers each")
        return self
