"""Residual networks for small images."""

from typing import Literal, Self

from pydantic import Field, model_validator

from app.spec.networks.base import ImageNetwork
from app.spec.shapes import Tracer, Value


class ResNet(ImageNetwork):
    """Residual networks for small images: He et al. 2015, arXiv 1512.03385, section 4.2.

    The variant of the CRD benchmark (Tian et al. 2020, arXiv 1910.10699): three stages of basic
    blocks, a 1 x 1 convolution with BatchNorm as the shortcut wherever the shape changes, global
    average pooling. Depth 20 and width 1 is resnet20; depth 8 and width 4 is resnet8x4.

    Tensors, named as in that benchmark's checkpoints: `conv1.weight`, `bn1.*`;
    `layer<s>.<i>.conv1.weight`, `.bn1.*`, `.conv2.weight`, `.bn2.*` and, in a stage's first block
    where the shape changes, `.downsample.0.weight`, `.downsample.1.*`, for s = 1 .. 3; `fc.weight`,
    `fc.bias`. Each `bn.*` is weight, bias, running_mean, running_var and num_batches_tracked.
    Taps: `relu` (the stem), `layer1`, `layer2`, `layer3`, `pool`.
    """

    family: Literal["resnet"] = "resnet"
    depth: int = Field(20, ge=8, le=1202)
    """Layers with weights, 6 n + 2 for n blocks a stage."""
    width: int = Field(1, ge=1, le=16)
    """Factor on the stages' 16, 32 and 64 channels; the stem has 16, or 32 if wider than 1."""

    @model_validator(mode="after")
    def _whole_blocks(self) -> Self:
        if self.depth % 6 != 2:
            raise ValueError("the depth of a resnet is 6 n + 2: 8, 14, 20, 32, 44, 56, 110 ...")
        return self

    @property
    def blocks(self) -> int:
        """Blocks in each stage."""
        return (self.depth - 2) // 6

    @property
    def stem(self) -> int:
        """Channels before the first stage."""
        return 16 if self.width == 1 else 32

    @property
    def trunk(self) -> tuple[str, ...]:
        return ("conv1", "bn1", "layer1", "layer2")

    @property
    def stages(self) -> tuple[int, int, int]:
        """Channels of each stage."""
        return (16 * self.width, 32 * self.width, 64 * self.width)

    def follow(self, tracer: Tracer, x: Value) -> Value:
        x = tracer.relu(tracer.batch_norm("bn1", tracer.conv("conv1", x, self.stem, 3)))
        tracer.tap("relu", x)
        for stage, channels in enumerate(self.stages, start=1):
            for i in range(self.blocks):
                stride = 2 if stage > 1 and i == 0 else 1
                x = _basic_block(tracer, f"layer{stage}.{i}", x, channels, stride)
            tracer.tap(f"layer{stage}", x)
        x = tracer.tap("pool", tracer.global_mean(x))
        return tracer.linear("fc", x, self.classes)


def _basic_block(tracer: Tracer, name: str, x: Value, channels: int, stride: int) -> Value:
    out = tracer.conv(f"{name}.conv1", x, channels, 3, stride=stride)
    out = tracer.relu(tracer.batch_norm(f"{name}.bn1", out))
    out = tracer.conv(f"{name}.conv2", out, channels, 3)
    out = tracer.batch_norm(f"{name}.bn2", out)
    if stride != 1 or x.shape[0] != channels:
        x = tracer.conv(f"{name}.downsample.0", x, channels, 1, stride=stride)
        x = tracer.batch_norm(f"{name}.downsample.1", x)
    return tracer.relu(tracer.add(out, x))
