"""Cutting a validation or test split from train, the same rows on every machine and forever."""

import numpy as np

from workers.data.raw import Array

# Each cut has a stream of its own, so that one fraction does not move the other's rows.
STREAMS = {"test": 1, "validation": 2}


def cut(rows: int, y: Array | None, fraction: float, seed: int, name: str) -> Array:
    """Which of `rows` rows go to the split `name`: a boolean mask (rows,).

    With labels `y` (rows,) every class gives in proportion, and each class of two rows or more
    gives at least one and keeps at least one.
    """
    # Generator.permutation may change with numpy; the bits of PCG64 may not.
    bits = np.random.PCG64([STREAMS[name], seed]).random_raw(rows)
    classes = np.zeros(rows, np.int64) if y is None else y
    order = np.lexsort((bits, classes))
    _, starts, counts = np.unique(classes[order], return_index=True, return_counts=True)
    place_in_class = np.arange(rows) - np.repeat(starts, counts)
    mask = np.zeros(rows, np.bool_)
    mask[order] = place_in_class < np.repeat(_shares(counts, fraction), counts)
    return mask


def _shares(counts: Array, fraction: float) -> Array:
    """How many of each class's rows to give: largest remainders, within one row of proportion."""
    # A class of one row gives none, and no other class gives in its place.
    exact = np.where(counts > 1, counts * fraction, 0.0)
    shares = np.clip(np.floor(exact).astype(np.int64), np.minimum(1, counts - 1), counts - 1)
    missing = round(float(exact.sum())) - int(shares.sum())
    if missing > 0:
        room = np.flatnonzero(shares < counts - 1)
        by_remainder = room[np.argsort((shares - exact)[room], kind="stable")]
        shares[by_remainder[:missing]] += 1
    return shares
