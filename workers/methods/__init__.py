"""The methods, a paper a file: each turns its parameters into a plan of stages."""

from workers.methods import (  # noqa: F401  (each registers its plan)
    born_again,
    dist,
    dkd,
    dml,
    ensemblenet,
    ffl,
    kd,
    logits,
    net2net,
    nkd,
    one,
    policy,
    specialists,
    supervised,
    wttm,
)
from workers.methods.registry import plan

__all__ = ["plan"]
