"""VGG for small images."""

from typing import Literal, Self

from pydantic import model_validator

from app.spec.networks.base import ImageNetwork
from app.spec.shapes import Tracer, Value


class VGG(ImageNetwork):
    """VGG with BatchNorm for small images: Simonyan and Zisserman 2014, arXiv 1409.1556.

    The variant of the CRD benchmark (Tian et al. 2020, arXiv 1910.10699): five blocks of 3 x 3
    convolutions with 64, 128, 256, 512 and 512 channels, a 2 x 2 max-pool after each of the first
    three (of the first four, if the image is 64 pixels or larger), global average pooling and one
    linear layer.

    Tensors, named as in that benchmark's checkpoints except for `fc`: in `block<b>`, b = 0 .. 4,
    convolution i is `block<b>.<3 i>.weight`, `.bias` and its BatchNorm `block<b>.<3 i + 1>.*`;
    `fc.weight`, `fc.bias`. Taps: `block0` .. `block4` (before the pool) and `pool`.
    """

    family: Literal["vgg"] = "vgg"
    depth: Literal[8, 11, 13, 16, 19] = 8
    """8 has one convolution a block; the others are the paper's configurations A, B, D and E."""

    @model_validator(mode="after")
    def _pools_to_something(self) -> Self:
        if min(self.inputs[1:]) < 8:
            raise ValueError(
                f"an image of {self.inputs[1]} x {self.inputs[2]} pools to nothing in a vgg: "
                "it needs 8 x 8 or more"
            )
        return self

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """Each block's number of convolutions and their channels."""
        convolutions = {
            8: (1, 1, 1, 1, 1),
            11: (1, 1, 2, 2, 2),
            13: (2, 2, 2, 2, 2),
            16: (2, 2, 3, 3, 3),
            19: (2, 2, 4, 4, 4),
        }[self.depth]
        return tuple(zip(convolutions, (64, 128, 256, 512, 512), strict=True))

    @property
    def trunk(self) -> tuple[str, ...]:
        return ("block0", "block1", "block2", "block3")

    @property
    def pools(self) -> int:
        """How many of the blocks end in a max-pool."""
        return 4 if min(self.inputs[1:]) >= 64 else 3

    def follow(self, tracer: Tracer, x: Value) -> Value:
        for block, (convolutions, channels) in enumerate(self.blocks):
            for i in range(convolutions):
                x = tracer.conv(f"block{block}.{3 * i}", x, channels, 3, bias=True)
                x = tracer.relu(tracer.batch_norm(f"block{block}.{3 * i + 1}", x))
            tracer.tap(f"block{block}", x)
            if block < self.pools:
                x = tracer.max_pool(x)
        x = tracer.tap("pool", tracer.global_mean(x))
        return tracer.linear("fc", x, self.classes)
