"""Integers for weights and activations: which layers have them, and how a checkpoint stores them.

A quantised layer's tensors are `weight` (int8 as the float32 weight is shaped; with 4 or 2 bits
uint8, a row an output channel, the numbers' lowest bits first, each plus 2^(bits - 1)),
`weight_scale` (float32, one an output channel) and, where activations are rounded too,
`input_scale` (float32) and `input_zero` (uint8), both scalars. It computes

    q = clamp(round(x / input_scale) + input_zero, 0, 2^activations - 1)
    y = (q - input_zero) weight^T input_scale weight_scale + bias
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

from pydantic import ValidationError

from app.spec.base import Spec
from app.spec.networks import Network
from app.spec.shapes import Shape

METADATA = "quantization"
"""Where a safetensors file's metadata hold its `Quantization`, as JSON."""

SCALES = (".weight_scale", ".input_scale")
"""How the names of a quantised layer's scales end."""

FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
COUNTERS = frozenset({"I64", "I32", "I8", "U8", "BOOL"})


class Quantization(Spec):
    """Integer weights, with a scale an output channel, and integer activations."""

    weights: Literal[8, 4, 2] = 8
    """Bits of a weight. 2 is ternary: -1, 0 and 1."""
    activations: Literal[8, 7] | None = 8
    """Bits of what a quantised layer reads; null leaves it as it is. Beside 8-bit weights, CPUs
    without VNNI have fast integer products only for 7."""
    first_and_last: bool = False
    """Whether the first layer and the classifier are quantised as well: they save least, and cost
    most of the accuracy."""

    @property
    def top(self) -> int | None:
        """The largest integer of an activation."""
        return None if self.activations is None else 2**self.activations - 1

    def layers(self, network: Network) -> tuple[str, ...]:
        """The layers whose weights become integers, in order: convolutions and linear ones."""
        every = [
            name.removesuffix(".weight")
            for name, shape in network.tensors.items()
            if name.endswith(".weight") and len(shape) > 1
        ]
        return tuple(every if self.first_and_last else every[1:-1])

    def flaw(self, network: Network) -> str | None:
        """Why this network cannot be quantised so."""
        if self.layers(network):
            return None
        return (
            f"Every layer of this {network.family} is its first or its last: take a deeper one, "
            "or quantise those too (first_and_last)."
        )


def parse(metadata: Mapping[str, str]) -> Quantization | None:
    """What a file's metadata say of it. Raises ValueError, naming the field at fault."""
    if METADATA not in metadata:
        return None
    try:
        return Quantization.model_validate_json(metadata[METADATA])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or METADATA
        raise ValueError(f"the file's quantization is not valid: {place}: {first['msg']}") from None


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as a checkpoint holds it."""

    shape: Shape
    dtype: str
    """float32, int64, int8 or uint8."""
    accepted: frozenset[str]
    """Safetensors' names of the types that it may be stored as."""


def packed(numbers: int, bits: int) -> int:
    """Bytes of a row of so many integers."""
    return -(-numbers * bits // 8)


def stored(network: Network, quantization: Quantization | None) -> dict[str, Stored]:
    """Every tensor of a network's checkpoint."""
    trace = network.trace()
    found = {}
    for name, shape in trace.tensors.items():
        dtype = trace.dtype(name)
        found[name] = Stored(shape, dtype, FLOATS if dtype == "float32" else COUNTERS)
    if quantization is None:
        return found
    exactly = frozenset({"F32"})
    for layer in quantization.layers(network):
        shape = trace.tensors[f"{layer}.weight"]
        if quantization.weights == 8:
            weight = Stored(shape, "int8", frozenset({"I8"}))
        else:
            row = packed(prod(shape[1:]), quantization.weights)
            weight = Stored((shape[0], row), "uint8", frozenset({"U8"}))
        found[f"{layer}.weight"] = weight
        found[f"{layer}.weight_scale"] = Stored(shape[:1], "float32", exactly)
        if quantization.activations is not None:
            found[f"{layer}.input_scale"] = Stored((), "float32", exactly)
            found[f"{layer}.input_zero"] = Stored((), "uint8", frozenset({"U8"}))
    return found
