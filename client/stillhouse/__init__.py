"""Stillhouse from Python: `Stillhouse` and, for asyncio and trio, `AsyncStillhouse`.

Everything is imported when it is first asked for, so that the command line starts at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from stillhouse import errors, models, spec
    from stillhouse._async.client import AsyncStillhouse
    from stillhouse._async.datasets import AsyncDataset
    from stillhouse._async.jobs import AsyncJob
    from stillhouse._async.sweeps import AsyncSweep
    from stillhouse._async.teachers import AsyncTeacher
    from stillhouse._sync.client import Stillhouse
    from stillhouse._sync.datasets import Dataset
    from stillhouse._sync.jobs import Job
    from stillhouse._sync.sweeps import Sweep
    from stillhouse._sync.teachers import Teacher
    from stillhouse.curves import Metrics
    from stillhouse.errors import Problem, StillhouseError
    from stillhouse.retries import Retries

_WHERE = {
    "AsyncDataset": "_async.datasets",
    "AsyncJob": "_async.jobs",
    "AsyncStillhouse": "_async.client",
    "AsyncSweep": "_async.sweeps",
    "AsyncTeacher": "_async.teachers",
    "Dataset": "_sync.datasets",
    "Job": "_sync.jobs",
    "Metrics": "curves",
    "Problem": "errors",
    "Retries": "retries",
    "Stillhouse": "_sync.client",
    "StillhouseError": "errors",
    "Sweep": "_sync.sweeps",
    "Teacher": "_sync.teachers",
}
_MODULES = ("errors", "models", "spec")

__all__ = [
    "AsyncDataset",
    "AsyncJob",
    "AsyncStillhouse",
    "AsyncSweep",
    "AsyncTeacher",
    "Dataset",
    "Job",
    "Metrics",
    "Problem",
    "Retries",
    "Stillhouse",
    "StillhouseError",
    "Sweep",
    "Teacher",
    "errors",
    "models",
    "spec",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"stillhouse.{name}")
    if name in _WHERE:
        return getattr(importlib.import_module(f"stillhouse.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
