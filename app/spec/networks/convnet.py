"""Small convolutional networks."""

from math import prod
from typing import Literal, Self

from pydantic import Field, model_validator

from app.spec.networks.base import MAX_INPUTS, Channels, ImageNetwork, Rate, Side, Width
from app.spec.networks.mlp import MLP
from app.spec.shapes import Shape, Tracer, Value


class ConvNet(ImageNetwork):
    """Convolutions, then dense layers, after LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998).

    A stage is a 5 x 5 convolution with padding 2, a 2 x 2 max-pool and a ReLU; dense layers follow
    as in `mlp`, on the last stage flattened channels first.

    Tensors: `stages.<i>.0.weight` (out x in x 5 x 5) and `stages.<i>.0.bias`; then
    `head.layers.<i>.weight` and `head.layers.<i>.bias`. Taps: `stages.<i>` and
    `head.activations.<i>`.
    """

    family: Literal["convnet"] = "convnet"
    inputs: tuple[Channels, Side, Side] = (1, 28, 28)
    """Channels, height and width of one image."""
    channels: tuple[Channels, ...] = Field((16, 32), min_length=1, max_length=11)
    """Channels of each stage; every stage halves the image."""
    hidden: tuple[Width, ...] = Field((128,), max_length=16)
    """Units of each dense hidden layer."""
    dropout: Rate = 0.0
    """Probability that a unit of a dense hidden layer is dropped while training."""

    @model_validator(mode="after")
    def _pools_to_something(self) -> Self:
        _, height, width = self._pooled
        if height * width == 0:
            raise ValueError(
                f"an image of {self.inputs[1]} x {self.inputs[2]} pools to nothing "
                f"in {len(self.channels)} stages"
            )
        if prod(self._pooled) > MAX_INPUTS:
            raise ValueError(f"the dense layers would see more than {MAX_INPUTS:,} inputs")
        return self

    @property
    def _pooled(self) -> Shape:
        stages = len(self.channels)
        return (self.channels[-1], self.inputs[1] >> stages, self.inputs[2] >> stages)

    @property
    def head(self) -> MLP:
        """The dense layers."""
        return MLP(
            inputs=prod(self._pooled),
            hidden=self.hidden,
            classes=self.classes,
            dropout=self.dropout,
        )

    @property
    def classifier(self) -> str:
        return f"head.{self.head.classifier}"

    @property
    def trunk(self) -> tuple[str, ...]:
        return tuple(f"stages.{i}" for i in range(len(self.channels) - 1))

    def follow(self, tracer: Tracer, x: Value) -> Value:
        for i, channels in enumerate(self.channels):
            x = tracer.conv(f"stages.{i}.0", x, channels, 5, bias=True)
            x = tracer.tap(f"stages.{i}", tracer.relu(tracer.max_pool(x)))
        return self.head.follow(tracer, x, prefix="head.")
