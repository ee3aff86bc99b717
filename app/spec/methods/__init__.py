"""The methods: each member of the union below is one, with its parameters and its paper.

The union is the registry. `GET /methods` and the docs are made from it, and a test holds that
every member has a plan in `workers.methods`.
"""

from typing import Annotated, get_args

from pydantic import Field

from app.spec.methods.base import Method
from app.spec.methods.classic import KD, Logits, Supervised
from app.spec.methods.features import AT, CRD, FSP, RKD, FitNets
from app.spec.methods.logits import DIST, DKD, NKD, WTTM, Policy
from app.spec.methods.online import DML, BornAgain, Codistillation
from app.spec.methods.precision import Apprentice
from app.spec.methods.structure import (
    FFL,
    ONE,
    DatasetDistillation,
    EnsembleNet,
    Net2Net,
    Specialists,
)

MethodSpec = Annotated[
    Supervised
    | KD
    | Logits
    | DKD
    | DIST
    | NKD
    | WTTM
    | Policy
    | ONE
    | FFL
    | EnsembleNet
    | FitNets
    | AT
    | RKD
    | FSP
    | CRD
    | DML
    | Net2Net
    | Specialists
    | BornAgain
    | DatasetDistillation
    | Codistillation
    | Apprentice,
    Field(discriminator="name"),
]

METHODS: dict[str, type[Method]] = {
    member.model_fields["name"].default: member for member in get_args(get_args(MethodSpec)[0])
}

__all__ = [
    "AT",
    "CRD",
    "DIST",
    "DKD",
    "DML",
    "FFL",
    "FSP",
    "KD",
    "METHODS",
    "NKD",
    "ONE",
    "RKD",
    "WTTM",
    "Apprentice",
    "BornAgain",
    "Codistillation",
    "DatasetDistillation",
    "EnsembleNet",
    "FitNets",
    "Logits",
    "Method",
    "MethodSpec",
    "Net2Net",
    "Policy",
    "Specialists",
    "Supervised",
]
