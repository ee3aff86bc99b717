"""A job's whole plan: its method, and what is done to any method's student afterwards."""

from collections.abc import Generator
from dataclasses import replace
from typing import cast

from torch import nn

from workers.engine.bench import Bench
from workers.engine.quantize import after_training
from workers.engine.stages import Made, Stage
from workers.methods.registry import plan
from workers.networks.preprocess import Preprocessed


def whole_plan(bench: Bench) -> Generator[Stage, nn.Module, Made]:
    """The stages of the job's method; the student with integers, where the job wants them."""
    result = yield from plan(bench.job.method, bench)
    made = result if isinstance(result, Made) else Made(cast(Preprocessed, result))
    quantization = bench.job.student.quantize
    if quantization is None:
        return made
    student = after_training(made.student, quantization, bench.transfer().inputs)
    return replace(made, student=student, full_precision=made.student)
