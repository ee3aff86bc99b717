"""Raw batches become what the network reads, whatever their layout."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from workers.networks.preprocess import Preprocessed

RNG = np.random.default_rng(0)
COLOUR = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


class Recorder(nn.Module):
    """Answers with its input."""

    def __init__(self, takes_images: bool) -> None:
        super().__init__()
        self.takes_images = takes_images
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x


def stored(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    if dtype.startswith("uint"):
        return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    return RNG.normal(size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "mean", "std", "takes_images"),
    [
        ((4, 6), (0.25,), (0.5,), False),
        ((4, 6), tuple(np.linspace(-1, 1, 6)), tuple(np.linspace(0.5, 2, 6)), False),
        ((4, 5, 6), (0.25,), (0.5,), False),
        ((4, 5, 6, 3), *COLOUR, False),
        ((4, 5, 6), (0.25,), (0.5,), True),
        ((4, 5, 6, 1), (0.25,), (0.5,), True),
        ((4, 5, 6, 3), (0.25,), (0.5,), True),
        ((4, 5, 6, 3), *COLOUR, True),
    ],
)
def test_the_affine_in_every_layout(
    shape: tuple[int, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    takes_images: bool,
    dtype: str,
) -> None:
    raw = stored(shape, dtype)
    scale = 1 / np.iinfo(dtype).max if dtype.startswith("uint") else 1.0
    exact = raw.astype(np.float64)[..., None] if raw.ndim == 3 else raw.astype(np.float64)
    exact = (exact * scale - np.array(mean)) / np.array(std)
    if takes_images:
        exact = exact.transpose(0, 3, 1, 2)

    x = Preprocessed(Recorder(takes_images), scale, mean, std)(torch.from_numpy(raw))
    assert x.dtype == torch.float32
    # The mlp flattens for itself, so only the order matters there.
    torch.testing.assert_close(
        x.flatten(1), torch.from_numpy(exact).float().flatten(1), rtol=1e-5, atol=1e-5
    )
    if takes_images:
        assert x.shape == exact.shape
        assert x.is_contiguous(memory_format=torch.channels_last)


def test_the_factors_stay_out_of_the_state() -> None:
    wrapped = Preprocessed(Recorder(takes_images=False), 2.0, (1.0,), (3.0,))
    assert set(wrapped.network.state_dict()) == {"layer.weight", "layer.bias"}
    assert set(wrapped.state_dict()) == {"network.layer.weight", "network.layer.bias"}


def test_bad_factors_are_refused() -> None:
    network = Recorder(takes_images=True)
    with pytest.raises(ValueError, match="positive"):
        Preprocessed(network, 1.0, (0.0,), (0.0,))
    with pytest.raises(ValueError, match="3 means do not go with 1"):
        Preprocessed(network, 1.0, (0.0, 0.0, 0.0), (1.0,))
    with pytest.raises(ValueError, match="3 means cannot normalise"):
        Preprocessed(network, 1.0, *COLOUR)(torch.zeros(2, 3, 3))
