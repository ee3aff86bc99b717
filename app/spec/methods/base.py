"""What every method tells of itself."""

from typing import ClassVar

from app.spec.base import Spec


class Method(Spec):
    """What every method tells of itself, beside its parameters."""

    title: ClassVar[str]
    paper: ClassVar[str | None]
    teachers: ClassVar[tuple[int, int | None]]
    """Fewest and most teachers; None is no bound."""

    @property
    def needs_labels(self) -> bool:
        """Whether every transfer example must carry a label."""
        return True
