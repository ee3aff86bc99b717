"""The families of networks that a client may name, and what their shapes tell.

Each family mirrors the module of its name in `workers.networks`; a test holds the two together.
"""

from abc import abstractmethod
from functools import lru_cache
from math import prod
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

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


NetworkSpec = Annotated[
    MLP | ConvNet | ResNet | WideResNet | VGG,
    Field(discriminator="family"),
]

FAMILIES: dict[str, type[Network]] = {
    "mlp": MLP,
    "convnet": ConvNet,
    "resnet": ResNet,
    "wrn": WideResNet,
    "vgg": VGG,
}
