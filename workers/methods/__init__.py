"""The methods, a paper a file: each turns its parameters into a plan of stages."""

from workers.methods import (  # noqa: F401  (each registers its plan)
    at,
    born_again,
    codistillation,
    crd,
    dataset_distillation,
    dist,
    dkd,
    dml,
    ensemblenet,
    ffl,
    fitnets,
    fsp,
    kd,
    logits,
    net2net,
    nkd,
    one,
    policy,
    rkd,
    specialists,
    supervised,
    wttm,
)
from workers.methods.registry import plan

__all__ = ["plan"]
