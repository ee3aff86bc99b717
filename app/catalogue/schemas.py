"""Entries of the catalogue."""

import inspect
from typing import Any

from pydantic import Field

from app.http.schema import Resource, example
from app.spec.methods import Method
from app.spec.networks import Network

KD: dict[str, Any] = {
    "name": "kd",
    "title": "Knowledge distillation",
    "description": "Tempered knowledge distillation (Hinton, Vinyals and Dean 2015).",
    "paper": "arXiv:1503.02531",
    "teachers": {"min": 1, "max": None},
    "defaults": {"name": "kd", "temperature": 4.0, "alpha": 0.9},
    "schema": {"type": "object"},
}
MLP: dict[str, Any] = {
    "family": "mlp",
    "description": "Fully connected ReLU layers.",
    "defaults": {"family": "mlp", "inputs": 784, "hidden": [1200, 1200], "classes": 10},
    "tensors": {"layers.0.weight": [1200, 784], "layers.0.bias": [1200]},
    "taps": {"activations.0": [1200]},
    "schema": {"type": "object"},
}


class TeacherBounds(Resource):
    """How many teachers a method takes."""

    min: int
    max: int | None
    """Null is no bound."""


class MethodOut(Resource, json_schema_extra=example(KD)):
    """A method, with its parameters."""

    name: str
    title: str
    description: str
    paper: str | None
    teachers: TeacherBounds
    defaults: dict[str, Any]
    schema_: dict[str, Any] = Field(alias="schema")
    """JSON Schema of a job's `method`."""

    @classmethod
    def of(cls, name: str, method: type[Method]) -> "MethodOut":
        fewest, most = method.teachers
        return cls(
            name=name,
            title=method.title,
            description=_doc(method),
            paper=method.paper,
            teachers=TeacherBounds(min=fewest, max=most),
            defaults=method().model_dump(mode="json"),
            schema=method.model_json_schema(),
        )


class MethodsOut(Resource, json_schema_extra=example({"data": [KD]})):
    """Every method."""

    data: list[MethodOut]


class NetworkOut(Resource, json_schema_extra=example(MLP)):
    """A family of networks."""

    family: str
    description: str
    defaults: dict[str, Any]
    tensors: dict[str, list[int]]
    """Names and shapes of a checkpoint's tensors, with the defaults."""
    taps: dict[str, list[int]]
    """Inner layers that feature methods may name, with the shapes of their outputs."""
    schema_: dict[str, Any] = Field(alias="schema")
    """JSON Schema of `network`."""

    @classmethod
    def of(cls, family: str, network: type[Network]) -> "NetworkOut":
        default = network()  # type: ignore[call-arg]
        return cls(
            family=family,
            description=_doc(network),
            defaults=default.model_dump(mode="json"),
            tensors={name: list(shape) for name, shape in default.tensors.items()},
            taps={name: list(shape) for name, shape in default.taps.items()},
            schema=network.model_json_schema(),
        )


class NetworksOut(Resource, json_schema_extra=example({"data": [MLP]})):
    """Every family."""

    data: list[NetworkOut]


def _doc(thing: type) -> str:
    return inspect.getdoc(thing) or ""
