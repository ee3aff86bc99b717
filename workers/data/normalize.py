"""The constants that bring stored values to a network's input."""

import numpy as np

from app.spec.dataset import Normalize, Preprocess
from app.spec.problems import Refused
from workers.data.raw import Array

SCALES = {"uint8": 1 / 255, "uint16": 1 / 65_535, "float32": 1.0}
BLOCK_BYTES = 32 * 2**20
# Below this fraction of the mean, float32 cannot tell a spread from rounding.
CONSTANT = 1e-6
DIGITS = 8


def preprocess(
    x: Array, places: Array | None, normalize: str | Normalize, scale: float | None
) -> Preprocess:
    """The constants for the train rows `x[places]`; `scale` overrides what the dtype implies.

    Raises Refused 422 `normalize_shape` when the constants given are as many as neither one, nor
    the channels (images), nor the features (2-D).
    """
    scale = SCALES[str(x.dtype)] if scale is None else scale
    channels = 1 if x.ndim == 3 else x.shape[-1]
    if isinstance(normalize, Normalize):
        if len(normalize.mean) not in (1, channels):
            raise Refused.invalid(
                "normalize_shape",
                f"normalize has {len(normalize.mean)} values, the data {channels} "
                f"{'features' if x.ndim == 2 else 'channels'}.",
                "Give one value, or one for each.",
                pointer="/normalize/mean",
            )
        return Preprocess(scale=scale, mean=normalize.mean, std=normalize.std)
    if normalize == "none":
        return Preprocess(scale=scale, mean=(0.0,), std=(1.0,))
    mean, std = _moments(x, places, channels)
    std = np.where(std <= CONSTANT * np.abs(mean), 1 / scale, std)
    return Preprocess(scale=scale, mean=_tidy(mean * scale), std=_tidy(std * scale))


def _moments(x: Array, places: Array | None, channels: int) -> tuple[Array, Array]:
    """Mean and standard deviation per channel, (channels,) float64, in two passes over blocks."""
    mean = _mean(x, places, channels, np.zeros(channels), power=1)
    variance = _mean(x, places, channels, mean, power=2)
    return mean, np.sqrt(variance)


def _mean(x: Array, places: Array | None, channels: int, centre: Array, power: int) -> Array:
    """The mean of `(x - centre) ** power` per channel."""
    count = len(x) if places is None else len(places)
    values = x[0].size
    # Summed down the rows first: long rows are fast, three channels side by side are not.
    total, centre = np.zeros(values), np.tile(centre, values // channels)
    step = max(1, BLOCK_BYTES // (8 * values))
    for start in range(0, count, step):
        rows = slice(start, start + step)
        block = x[rows] if places is None else x[places[rows]]
        centred = block.reshape(len(block), values) - centre
        total += (centred if power == 1 else np.square(centred, out=centred)).sum(axis=0)
    return np.asarray(total.reshape(-1, channels).sum(axis=0) / (count * (values // channels)))


def _tidy(values: Array) -> tuple[float, ...]:
    """Fewer digits than sums differ in from one processor to the next."""
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)
