"""The methods, a paper a file: each turns its parameters into a plan of stages."""

from workers.methods import (  # noqa: F401  (each registers its plan)
    apprentice,
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
from workers.methods.whole import whole_plan

__all__ = ["plan", "whole_plan"]
