"""Batched augmentation against a plain loop, and its independence of the order of visits."""

import pytest
import torch
import torch.nn.functional as F

from app.spec.training import Crop, Flip, Shift, Training
from workers.data.views import Views
from workers.engine.transfer import Transfer


def images(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, shape, generator=generator).to(torch.uint8)


@pytest.mark.parametrize("shape", [(50, 9, 7), (50, 9, 7, 3), (50, 9, 7, 1)], ids=str)
def test_every_view_is_a_window_of_the_padded_image_perhaps_mirrored(shape) -> None:
    x = images(*shape)
    seen = set()
    views = Views([Crop(padding=2), Flip()], seed=1, examples=len(x)).apply(
        x, torch.arange(len(x)), epoch=0
    )
    assert views.shape == x.shape
    for original, view in zip(x, views, strict=True):
        planes = original if original.ndim == 3 else original[..., None]
        padded = F.pad(planes, (0, 0, 2, 2, 2, 2))
        for number in range(50):
            dy, dx, flip = number // 2 // 5, number // 2 % 5, number % 2
            window = padded[dy : dy + 9, dx : dx + 7]
            window = window.flip(1) if flip else window
            if torch.equal(window.reshape(view.shape), view):
                seen.add(number)
                break
        else:
            raise AssertionError("a view that no offset gives")
    assert len(seen) > 20  # of 50 possible views, over 50 images


def test_a_view_depends_on_seed_epoch_and_example_only() -> None:
    x = images(20, 8, 8)
    index = torch.randperm(20)

    def view(seed: int, epoch: int, chosen: torch.Tensor) -> torch.Tensor:
        return Views([Shift(pixels=2)], seed, 20).apply(x[chosen], chosen, epoch)

    everything = view(3, 5, torch.arange(20))
    assert torch.equal(view(3, 5, index), everything[index])
    assert not torch.equal(view(3, 6, torch.arange(20)), everything)
    assert not torch.equal(view(4, 5, torch.arange(20)), everything)


def test_one_views_object_moves_on_and_back_between_epochs() -> None:
    x, index = images(20, 8, 8), torch.arange(20)
    views = Views([Shift(pixels=2)], 0, 20)
    first = views.apply(x, index, 0)
    views.apply(x, index, 1)
    assert torch.equal(views.apply(x, index, 0), first)


def test_an_epoch_visits_everything_once_in_an_order_of_its_own() -> None:
    transfer = Transfer(torch.arange(103.0)[:, None], None, Training())
    orders = [transfer.order(seed=1, stage=0, epoch=epoch) for epoch in range(3)]
    for order in orders:
        assert order.sort().values.tolist() == list(range(103))
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[2], transfer.order(seed=1, stage=0, epoch=2))


def test_batches_of_an_epoch() -> None:
    def steps(batch_size: int) -> int:
        return Training(batch_size=batch_size).steps_per_epoch(103)

    assert steps(10) == 11
    assert steps(51) == 2  # one example left over: BatchNorm cannot use it
    assert steps(500) == 1
