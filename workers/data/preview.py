"""A first look at a dataset: a few train rows, small enough to stand in a JSON answer."""

import base64
import io

import numpy as np
from PIL import Image

from app.spec.dataset import PreviewRow
from workers.data.raw import Array

PREVIEW_ROWS = 8
PREVIEW_SIDE = 64
PREVIEW_VALUES = 16


def preview(x: Array, y: Array | None, scale: float) -> tuple[PreviewRow, ...]:
    """Of the first rows of `x`: images as PNG, 2-D rows as their first values, rounded."""
    rows = []
    for place in range(min(PREVIEW_ROWS, len(x))):
        label = None if y is None else int(y[place])
        if x.ndim == 2:
            values = tuple(float(f"{value:.4g}") for value in x[place, :PREVIEW_VALUES])
            rows.append(PreviewRow(label=label, values=values))
        else:
            rows.append(PreviewRow(label=label, image=_png(x[place], scale)))
    return tuple(rows)


def _png(pixels: Array, scale: float) -> str:
    values = pixels.astype(np.float64) * scale
    if pixels.dtype.kind == "f" and not 0 <= values.min() <= values.max() <= 1:
        # Floats come in any range: show the image's own.
        values = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
    shown = (values.clip(0, 1) * 255).round().astype(np.uint8)
    if shown.ndim == 3 and shown.shape[2] not in (3, 4):
        shown = shown[:, :, 0]
    image = Image.fromarray(shown)
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
