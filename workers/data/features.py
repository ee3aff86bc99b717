"""Features in the few shapes and dtypes that the rest of the service knows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from app.spec.problems import Refused

Array = npt.NDArray[Any]

MAX_CHANNELS = 4

Place = Callable[[int, int], str]
"""Words for where a row, and a value of it, come from."""


def as_features(x: Array, place: Place) -> Array:
    """Rows as they were read to rows as they are kept.

    2-D becomes float32 as it is; images, (N, H, W) or (N, H, W, C), become uint8 where all values
    fit, else uint16; float images become float32. Raises Refused 422: `invalid_features`,
    `channels_first`, `pixel_out_of_range` or `non_finite_features`.
    """
    if x.dtype.kind not in "biuf":
        raise Refused.invalid("invalid_features", f"Features are numbers, not {x.dtype}.")
    if x.ndim not in (2, 3, 4) or 0 in x.shape[1:]:
        raise Refused.invalid(
            "invalid_features",
            f"A row of features has shape {x.shape[1:]}.",
            "Rows are (D,), (H, W) or (H, W, C), none of them 0; for one number per row, D is 1.",
        )
    if x.ndim == 4 and x.shape[3] > MAX_CHANNELS >= x.shape[1]:
        raise Refused.invalid(
            "channels_first",
            f"Images of shape {x.shape[1:]} look as if their channels came first.",
            "Send (N, H, W, C): x.transpose(0, 2, 3, 1).",
        )
    if x.dtype.kind == "f" or x.ndim == 2:
        return _finite(x, place)
    return _pixels(x)


def _finite(x: Array, place: Place) -> Array:
    # A float64 beyond float32 becomes infinite, and is found below.
    with np.errstate(over="ignore", invalid="ignore"):
        kept = x.astype(np.float32, copy=False)
        finite = np.isfinite(kept)
    if not finite.all():
        first = int(np.argmin(finite))
        row, value = divmod(first, x[0].size)
        raise Refused.invalid(
            "non_finite_features",
            f"{place(row, value)} holds {x.flat[first]}.",
            "Features are finite numbers within float32: fill such values in, or leave such rows "
            "out.",
        )
    return kept


def _pixels(x: Array) -> Array:
    if x.dtype == np.bool_:
        return x.astype(np.uint8) * np.uint8(255)
    if x.dtype == np.uint8:
        return x
    low, high = int(x.min()), int(x.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise Refused.invalid(
            "pixel_out_of_range",
            f"Images hold integers from {low} to {high}; 0 to 65,535 are read.",
            "Send other ranges as floats.",
        )
    return x.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)
