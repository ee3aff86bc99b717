"""Wide residual networks."""

from typing import Literal, Self

from pydantic import Field, model_validator

from app.spec.networks.base import ImageNetwork, Rate
from app.spec.shapes import Tracer, Value


class WideResNet(ImageNetwork):
    """Wide residual networks: Zagoruyko and Komodakis 2016, arXiv 1605.07146.

    Pre-activation blocks (BatchNorm, ReLU, convolution, twice), dropout between a block's two
    convolutions. Depth 40 and widen 2 is WRN-40-2.

    Tensors, named as in the CRD benchmark's checkpoints: `conv1.weight`;
    `block<s>.layer.<i>.bn1.*`, `.conv1.weight`, `.bn2.*`, `.conv2.weight` and, where the channels
    change, `.convShortcut.weight`, for s = 1 .. 3; `bn1.*`; `fc.weight`, `fc.bias`. Taps: `conv1`
    and `block1`, `block2`, `block3`, all before their BatchNorm and ReLU, and `pool`.
    """

    family: Literal["wrn"] = "wrn"
    depth: int = Field(16, ge=10, le=1000)
    """Layers with weights, 6 n + 4 for n blocks a stage."""
    widen: int = Field(2, ge=1, le=20)
    """Factor on the stages' 16, 32 and 64 channels; the stem has 16."""
    dropout: Rate = 0.0
    """Probability that a unit between the two convolutions of a block is dropped while training."""

    @model_validator(mode="after")
    def _whole_blocks(self) -> Self:
        if self.depth % 6 != 4:
            raise ValueError("the depth of a wrn is 6 n + 4: 10, 16, 22, 28, 40 ...")
        return self

    @property
    def blocks(self) -> int:
        """Blocks in each stage."""
        return (self.depth - 4) // 6

    @property
    def trunk(self) -> tuple[str, ...]:
        return ("conv1", "block1", "block2")

    @property
    def stages(self) -> tuple[int, int, int]:
        """Channels of each stage."""
        return (16 * self.widen, 32 * self.widen, 64 * self.widen)

    def rectified(self, tap: str) -> bool:
        return tap == "pool"

    def follow(self, tracer: Tracer, x: Value) -> Value:
        x = tracer.tap("conv1", tracer.conv("conv1", x, 16, 3))
        for stage, channels in enumerate(self.stages, start=1):
            for i in range(self.blocks):
                stride = 2 if stage > 1 and i == 0 else 1
                x = self._block(tracer, f"block{stage}.layer.{i}", x, channels, stride)
            tracer.tap(f"block{stage}", x)
        x = tracer.global_mean(tracer.relu(tracer.batch_norm("bn1", x)))
        return tracer.linear("fc", tracer.tap("pool", x), self.classes)

    def _block(self, tracer: Tracer, name: str, x: Value, channels: int, stride: int) -> Value:
        active = tracer.relu(tracer.batch_norm(f"{name}.bn1", x))
        out = tracer.conv(f"{name}.conv1", active, channels, 3, stride=stride)
        out = tracer.relu(tracer.batch_norm(f"{name}.bn2", out))
        out = tracer.conv(f"{name}.conv2", tracer.dropout(out, self.dropout), channels, 3)
        if x.shape[0] != channels:
            x = tracer.conv(f"{name}.convShortcut", active, channels, 1, stride=stride)
        return tracer.add(out, x)
