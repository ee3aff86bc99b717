"""The data set that is always there."""

from dataclasses import replace

import numpy as np

from app.spec.dataset import DatasetSpec
from workers.data.collect import Collector
from workers.data.raw import Limits, Raw, Rows

LICENSE = "CC BY 4.0 (Alpaydin and Kaynak 1998, doi:10.24432/C50P49)"


def digits(spec: DatasetSpec, limits: Limits) -> Raw:
    """scikit-learn's digits: (1797, 8, 8) uint8 with values 0 to 16, ten classes, no test split."""
    # Importing scikit-learn takes as long as importing torch, and little else needs it.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    collector = Collector(spec, limits)
    labels = collector.labels.numbers(bunch.target) if spec.label is not None else None
    collector.add("train", Rows(bunch.images.astype(np.uint8), labels))
    raw = collector.finish()
    names = raw.class_names or tuple(str(digit) for digit in range(10))
    return replace(raw, classes=len(names), class_names=names, scale=1 / 16, license=LICENSE)
