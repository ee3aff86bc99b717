"""What every family of networks shares: shapes, and what they tell."""

from abc import abstractmethod
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from app.spec.base import Spec
from app.spec.shapes import Shape, Trace, Tracer, Value

MAX_INPUTS = 2**24

Width = Annotated[int, Field(ge=1, le=65_536)]
Channels = Annotated[int, Field(ge=1, le=4_096)]
Side = Annotated[int, Field(ge=1, le=2_048)]
Rate = Annotated[float, Field(ge=0, lt=1)]


class Network(Spec):
    """What every family shares: a classifier with one logit for each class."""

    family: str
    classes: int = Field(10, ge=2, le=100_000)
    """Classes, one logit each."""

    @property
    @abstractmethod
    def input_shape(self) -> Shape:
        """One example's shape: (features,), or (C, H, W) for images."""

    @property
    @abstractmethod
    def classifier(self) -> str:
        """The name of the final linear layer: `<classifier>.weight` is classes x features."""

    @property
    def trunk(self) -> tuple[str, ...]:
        """The submodules with weights below the last block, which branches share; empty where
        there is nothing to share."""
        return ()

    @abstractmethod
    def accepts(self, feature_shape: Shape) -> bool:
        """Whether examples stored as (D,), (H, W) or (H, W, C) fit this network."""

    @abstractmethod
    def follow(self, tracer: Tracer, x: Value) -> Value:
        """The forward pass in shapes, from the input to the logits."""

    def rectified(self, tap: str) -> bool:  # noqa: ARG002
        """Whether a tap's output has gone through a ReLU, so that it is never negative."""
        return True

    def trace(self) -> Trace:
        return _trace(self)

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return self.trace().parameters

    @property
    def flops(self) -> int:
        """Per example, forward: 2 x the multiply-accumulates of convolutions and linear layers."""
        return self.trace().flops

    @property
    def activations(self) -> int:
        """Floats kept per example from forward to backward."""
        return self.trace().activations

    @property
    def tensors(self) -> dict[str, Shape]:
        """The name and shape of every tensor in a checkpoint."""
        return dict(self.trace().tensors)

    @property
    def taps(self) -> dict[str, Shape]:
        """The inner layers that feature methods may name, in order, with their outputs' shapes."""
        return dict(self.trace().taps)


@lru_cache(maxsize=256)
def _trace(network: Network) -> Trace:
    tracer = Tracer()
    network.follow(tracer, Value(network.input_shape))
    return tracer.finish()


class ImageNetwork(Network):
    """A network over images of a fixed size."""

    inputs: tuple[Channels, Side, Side] = (3, 32, 32)
    """Channels, height and width of one image."""

    @property
    def input_shape(self) -> Shape:
        return self.inputs

    @property
    def classifier(self) -> str:
        return "fc"

    def accepts(self, feature_shape: Shape) -> bool:
        channels, height, width = self.inputs
        if len(feature_shape) == 2:
            return channels == 1 and feature_shape == (height, width)
        return feature_shape == (height, width, channels)
