"""Networks on disk: safetensors whose bytes depend on the weights alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from app.spec.network import Network
from app.spec.shapes import OPTIONAL, Shape
from workers.networks import Net, build


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

    Floating-point tensors are stored as `dtype`, counters as they are.
    """
    tensors = {
        name: tensor.to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in sorted(module.state_dict().items())
    }
    save_file(tensors, path, dict(metadata) if metadata else None)
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

    Raises CheckpointError unless the file holds exactly the tensors of `spec`, each in its shape
    (counters that are `OPTIONAL` may lack, and are zero); no weight is read before that is known.
    """
    try:
        with safe_open(path, framework="pt") as file:
            _check(spec, file)
            with torch.device("meta"):
                network = build(spec)
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


def _check(spec: Network, file: Any) -> None:
    trace = spec.trace()
    stored = set(file.keys())
    absent = trace.tensors.keys() - stored
    if missing := sorted(name for name in absent if not name.endswith(OPTIONAL)):
        shape = trace.tensors[missing[0]]
        raise CheckpointError(f"{_first(missing, shape)} missing from the file")
    if unknown := sorted(stored - trace.tensors.keys()):
        shape = file.get_slice(unknown[0]).get_shape()
        raise CheckpointError(f"{_first(unknown, shape)} unknown to this {spec.family}")
    for name in sorted(stored):
        shape = trace.tensors[name]
        entry = file.get_slice(name)
        if tuple(entry.get_shape()) != shape:
            raise CheckpointError(
                f"tensor {name!r} is {_sizes(entry.get_shape())} in the file, "
                f"but {_sizes(shape)} in this {spec.family}"
            )
        floating = entry.get_dtype().startswith(("F", "BF"))
        if floating != trace.dtype(name).startswith("float"):
            raise CheckpointError(
                f"tensor {name!r} is stored as {entry.get_dtype()}, but {trace.dtype(name)} is due"
            )


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
