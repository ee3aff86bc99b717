"""From a method's parameters to its plan, by the type of the parameters."""

from functools import singledispatch

from app.spec.methods import Method
from workers.engine.bench import Bench
from workers.engine.stages import Plan


@singledispatch
def plan(method: Method, bench: Bench) -> Plan:  # noqa: ARG001
    """The stages that make one student, as many as `method.stage_epochs` tells the epochs of.

    Each method's file registers its own.
    """
    raise TypeError(f"no plan is registered for {type(method).__name__}")
