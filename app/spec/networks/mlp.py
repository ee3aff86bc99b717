"""Fully connected networks."""

from math import prod
from typing import Literal

from pydantic import Field

from app.spec.networks.base import MAX_INPUTS, Network, Rate, Width
from app.spec.shapes import Shape, Tracer, Value


class MLP(Network):
    """Fully connected ReLU layers, as in Hinton, Vinyals and Dean 2015, arXiv 1503.02531.

    Input of any shape is flattened. Dropout follows every hidden activation (Srivastava et al.
    2014); no hidden layer at all is softmax regression.

    Tensors: `layers.<i>.weight` (out x in) and `layers.<i>.bias` for i = 0 .. len(hidden), ReLU
    between them. Taps: `activations.<i>`, the output of hidden layer i after its ReLU.
    """

    family: Literal["mlp"] = "mlp"
    inputs: int = Field(784, ge=1, le=MAX_INPUTS)
    """Features of one example, once flattened."""
    hidden: tuple[Width, ...] = Field((1200, 1200), max_length=64)
    """Units of each hidden layer."""
    dropout: Rate = 0.0
    """Probability that a hidden unit is dropped while training."""
    input_dropout: Rate = 0.0
    """Probability that an input is dropped while training."""
    max_norm: float | None = Field(None, gt=0, le=1e6)
    """Bound on the L2 norm of each hidden unit's incoming weights, enforced after each step."""

    @property
    def input_shape(self) -> Shape:
        return (self.inputs,)

    @property
    def classifier(self) -> str:
        return f"layers.{len(self.hidden)}"

    @property
    def trunk(self) -> tuple[str, ...]:
        return tuple(f"layers.{i}" for i in range(len(self.hidden) - 1))

    def accepts(self, feature_shape: Shape) -> bool:
        return prod(feature_shape) == self.inputs

    def follow(self, tracer: Tracer, x: Value, prefix: str = "") -> Value:
        # Dropout of the input keeps no mask: there is nothing below it to pass a gradient to.
        for i, width in enumerate(self.hidden):
            x = tracer.relu(tracer.linear(f"{prefix}layers.{i}", x, width))
            tracer.tap(f"{prefix}activations.{i}", x)
            x = tracer.dropout(x, self.dropout)
        return tracer.linear(prefix + self.classifier, x, self.classes)
