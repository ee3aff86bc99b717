"""Students of low precision: from floats to rounding, and from rounding to integers."""

import copy

import torch
from torch import Tensor

from app.spec.quantization import Quantization
from workers.engine.evaluate import BATCH, eval_mode
from workers.engine.transfer import evenly
from workers.networks import Net
from workers.networks.preprocess import Preprocessed
from workers.networks.quantized import integers, rounded
from workers.networks.rounded import Rounded

CALIBRATION = 1024
"""Examples that give activations their ranges."""


def through_rounding(student: Preprocessed, quantization: Quantization) -> Preprocessed:
    """A copy of the student that computes as its integers will, and trains."""
    return _with(student, rounded(student.network, quantization))


def delivered(student: Preprocessed) -> Preprocessed:
    """A rounding student as what is handed on: with integers for weights."""
    return _with(student, integers(student.network))


def calibrate(student: Preprocessed, inputs: Tensor) -> None:
    """Sets the ranges of a rounding student's activations to hold those of raw examples."""
    layers = [layer for layer in student.modules() if isinstance(layer, Rounded)]
    with eval_mode(student), torch.no_grad():
        for layer in layers:
            layer.observing = True
        for part in inputs[evenly(len(inputs), CALIBRATION)].split(BATCH):
            student(part)
        for layer in layers:
            layer.observing = False


def after_training(
    student: Preprocessed, quantization: Quantization, inputs: Tensor
) -> Preprocessed:
    """A trained student with integers for weights, without further training."""
    rounding = through_rounding(student, quantization)
    calibrate(rounding, inputs)
    return delivered(rounding)


def _with(student: Preprocessed, network: Net) -> Preprocessed:
    made = copy.deepcopy(student)
    made.network = network
    return made
