"""Networks on disk: safetensors whose bytes depend on the weights alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from app.spec.networks import Network
from app.spec.quantization import METADATA, Quantization, parse, stored
from app.spec.shapes import OPTIONAL, Shape
from workers.networks import Net, build
from workers.networks.quantized import emptied


class CheckpointError(ValueError):
    """A file does not hold the weights of the network it is said to hold."""


def save_network(
    module: nn.Module,
    path: Path,
    metadata: Mapping[str, str] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Writes the state of a module: the same weights and metadata give the same bytes.

    Floating-point tensors are stored as `dtype`, counters and other integers as they are; how a
    network is quantised stands in the metadata.
    """
    metadata = dict(metadata or {})
    if isinstance(module, Net) and module.quantization is not None:
        metadata[METADATA] = module.quantization.model_dump_json()
    tensors = {
        name: tensor.to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in sorted(module.state_dict().items())
    }
    save_file(tensors, path, metadata or None)
    if metadata:
        _sort_metadata(path)


def load_network(
    spec: Network,
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Net:
    """A network with the weights of a file, in train mode, floating-point tensors as `dtype`.

    Layers that the file holds as integers are layers of integers, whatever `dtype` is. Raises
    CheckpointError unless the file holds exactly the tensors of `spec`, each in its shape (counters
    that are `OPTIONAL` may lack, and are zero); no weight is read before that is known.
    """
    try:
        with safe_open(path, framework="pt") as file:
            quantization = _check(spec, file)
            with torch.device("meta"):
                network = build(spec)
                if quantization is not None:
                    emptied(network, quantization)
            network.to(dtype).to_empty(device=device)
            with torch.no_grad():
                stored = set(file.keys())
                for name, tensor in network.state_dict().items():
                    if name in stored:
                        tensor.copy_(file.get_tensor(name))
                    else:
                        tensor.zero_()
    except SafetensorError as error:
        raise CheckpointError(f"not a safetensors file: {error}") from error
    return network


def _check(spec: Network, file: Any) -> Quantization | None:
    """How the file says that it is quantised."""
    try:
        quantization = parse(file.metadata() or {})
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    due = stored(spec, quantization)
    found = set(file.keys())
    if missing := sorted(name for name in due.keys() - found if not name.endswith(OPTIONAL)):
        raise CheckpointError(f"{_first(missing, due[missing[0]].shape)} missing from the file")
    if unknown := sorted(found - due.keys()):
        shape = file.get_slice(unknown[0]).get_shape()
        raise CheckpointError(f"{_first(unknown, shape)} unknown to this {spec.family}")
    for name in sorted(found):
        tensor, entry = due[name], file.get_slice(name)
        if tuple(entry.get_shape()) != tensor.shape:
            raise CheckpointError(
                f"tensor {name!r} is {_sizes(entry.get_shape())} in the file, "
                f"but {_sizes(tensor.shape)} in this {spec.family}"
            )
        if entry.get_dtype() not in tensor.accepted:
            raise CheckpointError(
                f"tensor {name!r} is stored as {entry.get_dtype()}, but {tensor.dtype} is due"
            )
    return quantization


def _first(names: list[str], shape: Shape) -> str:
    first = f"tensor {names[0]!r} ({_sizes(shape)})"
    return f"{first} and {len(names) - 1} more are" if names[1:] else f"{first} is"


def _sizes(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "a scalar"


def _sort_metadata(path: Path) -> None:
    # safetensors writes its metadata in hash order, another one each time. Sorting it in place
    # leaves the header as long as it was.
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(length))
