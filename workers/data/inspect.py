"""What becomes of a client's bytes: a prepared dataset, a checkpoint that fits, or a refusal."""

from pathlib import Path
from typing import Any

import torch

from app.spec.dataset import DatasetFacts, DatasetSpec
from app.spec.network import Network
from app.spec.problems import Refused
from app.spec.shapes import OPTIONAL
from app.spec.sniff import SNIFF_BYTES, sniff_checkpoint
from workers.data.prepare import prepare
from workers.data.raw import Limits
from workers.data.readers import Files, read
from workers.data.safetensors_header import Header, check_finite, read_header

FLOATS = {"F64", "F32", "F16", "BF16"}
NAMED_AT_MOST = 5


def inspect_dataset(
    files: Files | None, spec: DatasetSpec, out_path: Path, limits: Limits | None = None
) -> DatasetFacts:
    """Reads, cuts and writes a dataset to `out_path`; `files` is None for a builtin.

    Raises Refused: 413, 415 or 422; nothing is left at `out_path` then.
    """
    return prepare(read(files, spec, limits), spec, out_path)


def inspect_checkpoint(path: Path, network: Network, filename: str | None = None) -> dict[str, Any]:
    """Everything about a checkpoint that can be known without running it.

    Answers `parameters`, `flops`, `taps` (names), `tensors` (how many), `dtypes` and `bytes`.
    Raises Refused: 415 for anything but safetensors, 413 and 422 for a bad header, 422
    `non_finite_weights`, and 422 `tensor_mismatch` naming a tensor and both shapes.
    """
    with path.open("rb") as file:
        sniff_checkpoint(file.read(SNIFF_BYTES), filename)
    header = read_header(path)
    # Shapes first: it takes no reading, and a wrong network is the likelier mistake.
    _check_fits(header, network)
    check_finite(path, header)
    return {
        "parameters": network.parameters,
        "flops": network.flops,
        "taps": list(network.taps),
        "tensors": len(header.tensors),
        "dtypes": sorted({tensor.dtype for tensor in header.tensors.values()}),
        "bytes": path.stat().st_size,
    }


def _check_fits(header: Header, network: Network) -> None:
    # Here, so that preparing a dataset does not wait for the networks to be imported.
    from workers.networks import build

    with torch.device("meta"):
        expected = build(network).state_dict()
    required = {name for name in expected if not name.endswith(OPTIONAL)}
    if missing := sorted(required - header.tensors.keys()):
        shapes = [f"{name!r} {list(expected[name].shape)}" for name in missing]
        _refuse(f"The network needs {_listed(shapes)}, which the checkpoint does not have.")
    if unexpected := sorted(header.tensors.keys() - expected.keys()):
        shapes = [f"{name!r} {list(header.tensors[name].shape)}" for name in unexpected]
        _refuse(f"The checkpoint has {_listed(shapes)}, which the network does not know.")
    for name, tensor in header.tensors.items():
        wanted = expected[name]
        if tensor.shape != tuple(wanted.shape):
            _refuse(
                f"Tensor {name!r} has shape {list(tensor.shape)} in the checkpoint, "
                f"{list(wanted.shape)} in the network."
            )
        if (tensor.dtype in FLOATS) != wanted.is_floating_point():
            _refuse(f"Tensor {name!r} is {tensor.dtype}, the network's is {wanted.dtype}.")


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _refuse(detail: str) -> None:
    raise Refused.invalid(
        "tensor_mismatch", detail, "Compare the names and shapes with GET /networks."
    )
