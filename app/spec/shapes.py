"""A network seen without torch: its tensors, cost and inner layers, from shapes alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType

Shape = tuple[int, ...]

OPTIONAL = ".num_batches_tracked"
"""Tensors that a checkpoint may lack: BatchNorm's counters, which older ones do not have and
nothing here reads."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What the shapes of a network tell about it. Batch dimensions are left out everywhere."""

    tensors: Mapping[str, Shape]
    """Every tensor of the checkpoint, BatchNorm's buffers included."""
    parameters: int
    """Trainable numbers."""
    flops: int
    """Per example, forward: 2 x the multiply-accumulates of convolutions and linear layers."""
    activations: int
    """Floats kept per example from forward to backward, the input included."""
    taps: Mapping[str, Shape]
    """The inner layers that feature methods may name, in order, each with its output's shape.
    Outputs are taken after the ReLU; the last tap is what the classifier sees."""
    normalises_pixels: bool
    """Whether a BatchNorm sees one value of a channel in an example, and so needs two examples."""

    def dtype(self, tensor: str) -> str:
        """The dtype of one of `tensors`, as numpy and torch spell it."""
        return "int64" if tensor.endswith(OPTIONAL) else "float32"


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """One example's tensor on its way through a network; the same only as itself."""

    shape: Shape


class Tracer:
    """Follows one example through a network and writes down what each layer holds and costs.

    Each method takes the value a layer reads and returns the value it makes, so that a trace is
    written line by line like the forward pass that it mirrors.
    """

    def __init__(self) -> None:
        self._tensors: dict[str, Shape] = {}
        self._taps: dict[str, Shape] = {}
        self._parameters = 0
        self._flops = 0
        self._kept: set[Value] = set()
        self._extra = 0
        self._normalises_pixels = False

    def conv(
        self,
        name: str,
        x: Value,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        bias: bool = False,
    ) -> Value:
        """A C x H x W convolution, padded by kernel // 2; the kernel is odd."""
        inputs, height, width = x.shape
        made = Value((channels, (height - 1) // stride + 1, (width - 1) // stride + 1))
        self._parameter(f"{name}.weight", (channels, inputs, kernel, kernel))
        if bias:
            self._parameter(f"{name}.bias", (channels,))
        self._flops += 2 * inputs * kernel * kernel * prod(made.shape)
        self._kept.add(x)
        return made

    def batch_norm(self, name: str, x: Value) -> Value:
        """BatchNorm over the first dimension: two parameters and three buffers."""
        channels = x.shape[:1]
        self._parameter(f"{name}.weight", channels)
        self._parameter(f"{name}.bias", channels)
        self._tensors[f"{name}.running_mean"] = channels
        self._tensors[f"{name}.running_var"] = channels
        self._tensors[f"{name}{OPTIONAL}"] = ()
        self._kept.add(x)
        self._normalises_pixels |= prod(x.shape[1:]) == 1
        return Value(x.shape)

    def linear(self, name: str, x: Value, outputs: int) -> Value:
        """A linear layer with bias on the flattened value."""
        inputs = prod(x.shape)
        self._parameter(f"{name}.weight", (outputs, inputs))
        self._parameter(f"{name}.bias", (outputs,))
        self._flops += 2 * inputs * outputs
        self._kept.add(x)
        return Value((outputs,))

    def relu(self, x: Value) -> Value:
        """A ReLU, which keeps what it makes rather than what it reads."""
        made = Value(x.shape)
        self._kept.add(made)
        return made

    def dropout(self, x: Value, rate: float) -> Value:
        """Dropout, which keeps a mask; nothing at all at rate 0."""
        if rate == 0:
            return x
        self._extra += prod(x.shape)
        return Value(x.shape)

    def max_pool(self, x: Value) -> Value:
        """The maximum of each 2 x 2 window; its 64-bit indices count as two floats each."""
        channels, height, width = x.shape
        made = Value((channels, height // 2, width // 2))
        self._kept.add(x)
        self._extra += 2 * prod(made.shape)
        return made

    def global_mean(self, x: Value) -> Value:
        """C x H x W to C."""
        return Value(x.shape[:1])

    def add(self, x: Value, _branch: Value) -> Value:
        """The sum that closes a residual block: it keeps nothing."""
        return Value(x.shape)

    def tap(self, name: str, x: Value) -> Value:
        """Offers the output of the submodule `name` to feature methods."""
        self._taps[name] = x.shape
        return x

    def finish(self) -> Trace:
        return Trace(
            tensors=MappingProxyType(self._tensors),
            parameters=self._parameters,
            flops=self._flops,
            activations=sum(prod(value.shape) for value in self._kept) + self._extra,
            taps=MappingProxyType(self._taps),
            normalises_pixels=self._normalises_pixels,
        )

    def _parameter(self, name: str, shape: Shape) -> None:
        self._tensors[name] = shape
        self._parameters += prod(shape)
