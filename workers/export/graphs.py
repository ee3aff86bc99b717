"""Students as graphs: torch.export's .pt2, and ONNX made from the same.

Both take batches of any size as they are stored, and normalise them by themselves.
"""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch.export import Dim, ExportedProgram

from app.spec.networks import Network
from app.spec.problems import Refused
from workers.networks.preprocess import Preprocessed
from workers.networks.store import CheckpointError, load_network

ONNX_BYTES = 2**31 - 2**20
"""A protobuf message holds 2 GiB, and the weights are a part of it."""


def export_student(
    spec: Network, weights: Path, about: dict[str, Any], format_: str, out: Path
) -> None:
    """Writes a finished student to `out`; `about` is its network.json. Raises Refused."""
    if "input" not in about:
        raise Refused.invalid(
            "format_does_not_fit", "The job was trained by a version that did not export students."
        )
    _check_plain(spec, weights)
    student = Preprocessed(load_network(spec, weights), **about["preprocess"]).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own internals here
        program = _program(student, **about["input"])
        WRITERS[format_](program, _told(about), out)


def _check_plain(spec: Network, weights: Path) -> None:
    """Refuses tensors that the network itself does not have: integers for weights, say."""
    trace = spec.trace()
    try:
        with safe_open(weights, framework="pt") as file:
            names = set(file.keys())
            floats = {name for name in names if file.get_slice(name).get_dtype() == "F32"}
    except SafetensorError as error:
        raise CheckpointError(f"not a safetensors file: {error}") from error
    due = {name for name in trace.tensors if trace.dtype(name).startswith("float")}
    if names != trace.tensors.keys() or floats != due:
        raise Refused.invalid(
            "format_does_not_fit",
            "This student's weights are not float32: only its safetensors hold them as they are.",
            "Take format=safetensors.",
        )


def _program(student: Preprocessed, shape: Sequence[int], dtype: str) -> ExportedProgram:
    # Two examples: torch.export takes a size of 1 for a constant.
    example = torch.zeros((2, *shape), dtype=getattr(torch, dtype))
    program = torch.export.export(student, (example,), dynamic_shapes={"x": {0: Dim("batch")}})
    for node in program.graph.nodes:
        # Where on this machine each line of the source lies is nobody's business.
        node.meta.pop("stack_trace", None)
    return program


def _write_pt2(program: ExportedProgram, told: dict[str, Any], out: Path) -> None:
    torch.export.save(program, out, extra_files={"about.json": json.dumps(told)})


def _write_onnx(program: ExportedProgram, told: dict[str, Any], out: Path) -> None:
    import onnx

    if sum(value.nbytes for value in program.state_dict.values()) > ONNX_BYTES:
        raise Refused.invalid("format_does_not_fit", "An ONNX file holds less than 2 GiB.")
    made = torch.onnx.export(
        program, dynamo=True, input_names=["input"], output_names=["logits"], verbose=False
    )
    assert made is not None  # noqa: S101  (with dynamo it returns the program)
    model = made.model_proto
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for node in model.graph.node:
        del node.metadata_props[:]
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in told.items()})
    onnx.checker.check_model(model, full_check=True)
    out.write_bytes(model.SerializeToString(deterministic=True))


WRITERS: dict[str, Callable[[ExportedProgram, dict[str, Any], Path], None]] = {
    "pt2": _write_pt2,
    "onnx": _write_onnx,
}


def _told(about: dict[str, Any]) -> dict[str, Any]:
    """What goes along inside the file."""
    dtype = about["input"]["dtype"]
    return {
        "input": f"{dtype}, as stored: normalisation is a part of the graph",
        "class_names": about["class_names"],
    }
