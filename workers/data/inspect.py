"""What becomes of a client's bytes: a prepared dataset, a checkpoint that fits, or a refusal."""

from pathlib import Path
from typing import Any, NoReturn

from app.spec.dataset import DatasetFacts, DatasetSpec
from app.spec.networks import Network
from app.spec.problems import Refused
from app.spec.quantization import SCALES, Quantization, parse, stored
from app.spec.shapes import OPTIONAL
from app.spec.sniff import SNIFF_BYTES, sniff_checkpoint
from workers.data.prepare import prepare
from workers.data.raw import Limits
from workers.data.readers import Files, read
from workers.data.safetensors_header import Header, check_finite, check_positive, read_header

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

    Answers `parameters`, `flops`, `taps` (names), `tensors` (how many), `dtypes`, `bytes` and
    `quantization`, which is null for floats. Raises Refused: 415 for anything but safetensors, 413
    and 422 for a bad header, 422 `invalid_quantization`, `invalid_scale` or `non_finite_weights`,
    and 422 `tensor_mismatch` naming a tensor and both shapes.
    """
    with path.open("rb") as file:
        sniff_checkpoint(file.read(SNIFF_BYTES), filename)
    header = read_header(path)
    quantization = _quantization(header)
    # Shapes first: it takes no reading, and a wrong network is the likelier mistake.
    _check_fits(header, network, quantization)
    check_finite(path, header)
    if quantization is not None:
        for name in header.tensors:
            if name.endswith(SCALES):
                check_positive(path, header, name)
    return {
        "parameters": network.parameters,
        "flops": network.flops,
        "taps": list(network.taps),
        "tensors": len(header.tensors),
        "dtypes": sorted({tensor.dtype for tensor in header.tensors.values()}),
        "bytes": path.stat().st_size,
        "quantization": quantization and quantization.model_dump(mode="json"),
    }


def _quantization(header: Header) -> Quantization | None:
    try:
        return parse(header.metadata)
    except ValueError as error:
        raise Refused.invalid("invalid_quantization", f"{error}") from None


def _check_fits(header: Header, network: Network, quantization: Quantization | None) -> None:
    def refuse(detail: str) -> NoReturn:
        raise Refused.invalid(
            "tensor_mismatch",
            detail,
            f"`stillhouse networks {network.family}` and GET /networks list the names and shapes "
            "that are due; `stillhouse teachers add --rename OLD=NEW` gives tensors other names.",
        )

    due = stored(network, quantization)
    required = {name for name in due if not name.endswith(OPTIONAL)}
    if missing := sorted(required - header.tensors.keys()):
        shapes = [f"{name!r} {list(due[name].shape)}" for name in missing]
        has = [f"{name!r} {list(tensor.shape)}" for name, tensor in header.tensors.items()]
        refuse(
            f"The network needs {_listed(shapes)}, which the checkpoint does not have. "
            f"The checkpoint has {_listed(has) or 'no tensors'}."
        )
    if unexpected := sorted(header.tensors.keys() - due.keys()):
        shapes = [f"{name!r} {list(header.tensors[name].shape)}" for name in unexpected]
        refuse(f"The checkpoint has {_listed(shapes)}, which the network does not know.")
    for name, tensor in header.tensors.items():
        wanted = due[name]
        if tensor.shape != wanted.shape:
            refuse(
                f"Tensor {name!r} has shape {list(tensor.shape)} in the checkpoint, "
                f"{list(wanted.shape)} in the network."
            )
        if tensor.dtype not in wanted.accepted:
            refuse(f"Tensor {name!r} is {tensor.dtype}, the network's is {wanted.dtype}.")


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
