"""Numbers that may change while a job trains."""

from math import cos, pi
from typing import Annotated, Literal

from pydantic import Field

from app.spec.base import Spec


class Ramp(Spec):
    """A value that moves from `start` to `end` over the first `epochs` epochs, then stays."""

    start: float
    """Value at the first step."""
    end: float
    """Value once `epochs` have passed."""
    shape: Literal["linear", "cosine"] = "linear"
    """Straight line, or half a cosine wave."""
    epochs: int | None = Field(default=None, ge=1, le=100_000)
    """Length in epochs; null takes all of the stage."""

    def at(self, epoch: float, epochs: int) -> float:
        """The value after `epoch` (fractional) epochs of a stage of `epochs`."""
        done = min(epoch / (self.epochs or epochs), 1.0)
        if self.shape == "cosine":
            done = (1 - cos(pi * done)) / 2
        return self.start + (self.end - self.start) * done


class TemperatureRamp(Ramp):
    """A temperature that changes while training."""

    start: float = Field(ge=0.01, le=1000)
    end: float = Field(ge=0.01, le=1000)


class WeightRamp(Ramp):
    """A weight in [0, 1] that changes while training."""

    start: float = Field(ge=0, le=1)
    end: float = Field(ge=0, le=1)


class WideRamp(Ramp):
    """A weight in [0, 1000] that changes while training."""

    start: float = Field(ge=0, le=1000)
    end: float = Field(ge=0, le=1000)


Temperature = Annotated[float, Field(ge=0.01, le=1000)] | TemperatureRamp
Fraction = Annotated[float, Field(ge=0, le=1)] | WeightRamp
Weight = Annotated[float, Field(ge=0, le=1000)] | WideRamp


def value_at(value: "float | Ramp", epoch: float, epochs: int) -> float:
    """What a constant or a ramp is worth after `epoch` epochs of `epochs`."""
    return value.at(epoch, epochs) if isinstance(value, Ramp) else value
