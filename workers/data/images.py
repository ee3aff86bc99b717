"""Encoded images, PNG, JPEG or WebP, to one array of pixels."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from app.spec.problems import Refused
from workers.data.raw import Array, Limits

FORMATS = ("PNG", "JPEG", "WEBP")
# What Pillow opens an image as, to what is kept: grey (H, W), colour (H, W, 3 or 4).
KEPT_MODES = {"L": "L", "1": "L", "RGB": "RGB", "RGBA": "RGBA", "LA": "L", "I;16": "I;16"}
DECODERS = 2
# Handed to a thread at once: a small image is decoded faster than a thread is woken.
CHUNK = 64


def decode(
    images: Sequence[Any], first_row: int, limits: Limits, names: Sequence[str] | None = None
) -> Array:
    """Images of one shape, as bytes, to (N, H, W) or (N, H, W, C) uint8 (16-bit grey: uint16).

    `first_row` counts the rows before these, so that a refusal can name its row; or it says their
    `names`. Raises Refused: 413 `image_too_large` or `dataset_too_large`, 422 `invalid_image` or
    `ragged_features`.
    """
    if not images:
        return np.empty((0, 1, 1), np.uint8)

    def named(place: int) -> str:
        return repr(names[place][:200]) if names is not None else f"in row {first_row + place}"

    first = _decode(images[0], named(0), limits)
    limits.check_bytes(len(images) * first.nbytes)
    stack = np.empty((len(images), *first.shape), first.dtype)

    def fill(start: int) -> None:
        for place in range(start, min(start + CHUNK, len(images))):
            image = _decode(images[place], named(place), limits)
            stack[place] = _alike(image, named(place), first, named(0))

    with ThreadPoolExecutor(DECODERS) as pool:
        for _ in pool.map(fill, range(0, len(images), CHUNK)):
            pass
    return stack


def _alike(image: Array, name: str, first: Array, first_name: str) -> Array:
    if image.shape != first.shape or image.dtype != first.dtype:
        raise Refused.invalid(
            "ragged_features",
            f"The image {name} is {image.dtype} of shape {image.shape}, "
            f"the one {first_name} {first.dtype} of shape {first.shape}.",
            "All images of a dataset share one size and one mode.",
        )
    return image


def _decode(encoded: Any, name: str, limits: Limits) -> Array:
    if not isinstance(encoded, bytes) or not encoded:
        raise Refused.invalid("invalid_image", f"The image {name} has no bytes.")
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            if image.width * image.height > limits.max_pixels:
                raise _too_large(name, limits)
            mode = KEPT_MODES.get(image.mode, "RGB")
            return np.asarray(image if image.mode == mode else image.convert(mode))
    except Refused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, limits) from error
    except Exception as error:
        # Decoders meet hostile bytes with exceptions of any kind.
        raise Refused.invalid(
            "invalid_image", f"The image {name} is not PNG, JPEG or WebP that can be read."
        ) from error


def _too_large(name: str, limits: Limits) -> Refused:
    return Refused.too_large(
        "image_too_large", f"The image {name} has more than {limits.max_pixels} pixels."
    )
