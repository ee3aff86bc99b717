"""Net2Net: a larger network that starts as the teacher's function."""

import pytest
import torch
from torch import Tensor, nn

from app.spec.growth import growth
from app.spec.networks import MLP, VGG, ConvNet, Network, ResNet, WideResNet
from workers.networks import Net, build
from workers.networks.growth import deepen, grow

IMAGE = {"inputs": (3, 8, 8), "classes": 5}
FLAT = {"inputs": 12, "classes": 5}
PAIRS = [
    (MLP(**FLAT, hidden=()), MLP(**FLAT, hidden=())),
    (MLP(**FLAT, hidden=(7,)), MLP(**FLAT, hidden=(19,))),
    (MLP(**FLAT, hidden=(7,)), MLP(**FLAT, hidden=(7, 7, 7))),
    (MLP(**FLAT, hidden=(8, 6)), MLP(**FLAT, hidden=(9, 30, 11, 6))),
    (MLP(**FLAT, hidden=(4, 16)), MLP(**FLAT, hidden=(8, 8, 16))),
    (
        ConvNet(**IMAGE, channels=(4, 6), hidden=(9,)),
        ConvNet(**IMAGE, channels=(9, 7), hidden=(10, 13)),
    ),
    (ConvNet(**IMAGE, channels=(4,), hidden=()), ConvNet(**IMAGE, channels=(6,), hidden=())),
    (ResNet(**IMAGE, depth=8), ResNet(**IMAGE, depth=14, width=2)),
    (ResNet(**IMAGE, depth=8, width=3), ResNet(**IMAGE, depth=20, width=4)),
    (WideResNet(**IMAGE, depth=10, widen=2), WideResNet(**IMAGE, depth=16, widen=3)),
    (VGG(**IMAGE, depth=8), VGG(**IMAGE, depth=13)),
]


def lived_in(spec: Network) -> Net:
    """A network whose biases and BatchNorms are no longer what they started as."""
    network = build(spec, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith(("bias", "running_mean")) or (tensor.ndim == 1 and "weight" in name):
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
            elif name.endswith("running_var"):
                tensor.mul_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network


def examples(spec: Network, count: int = 32) -> Tensor:
    return torch.randn(count, *spec.input_shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(("small", "large"), PAIRS, ids=repr)
def test_growth_keeps_the_function(small: Network, large: Network) -> None:
    teacher, x = lived_in(small), examples(small)
    student = grow(teacher, large, x, noise=0, seed=1)
    assert student.spec == large
    expected = teacher.double().eval()(x.double())
    assert expected.std() > 0.01
    # Summed in float64, but a third of a weight is stored in float32.
    actual = student.double().eval()(x.double())
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("small", "large"), PAIRS[7:10], ids=repr)
def test_growth_keeps_the_function_of_batch_statistics_too(small: Network, large: Network) -> None:
    """Copied channels have their original's mean and variance, zero blocks stay zero."""
    teacher, x = lived_in(small).double(), examples(small).double()
    student = grow(teacher, large, x, noise=0, seed=1).double().train()
    torch.testing.assert_close(student(x), teacher.train()(x), rtol=1e-4, atol=1e-4)


def test_a_new_batch_norm_undoes_itself_on_batches_like_those_it_was_measured_on() -> None:
    small, large = VGG(**IMAGE, depth=8), VGG(**IMAGE, depth=11)
    teacher, x = lived_in(small), examples(small, 256)
    student = deepen(teacher, large, x, seed=1)
    norm = student.get_submodule("block2.4")
    assert isinstance(norm, nn.BatchNorm2d)
    torch.testing.assert_close(norm.weight, (norm.running_var + norm.eps).sqrt())
    torch.testing.assert_close(norm.bias, norm.running_mean)


def test_copies_are_told_apart_by_noise_alone() -> None:
    small, large = MLP(**FLAT, hidden=(6,)), MLP(**FLAT, hidden=(10,))
    teacher, x = lived_in(small), examples(small)
    exact = grow(teacher, large, x, noise=0, seed=1).layers[0].weight
    noisy = grow(teacher, large, x, noise=0.01, seed=1).layers[0].weight
    assert len(exact.unique(dim=0)) == 6
    assert len(noisy.unique(dim=0)) == 10
    assert torch.equal(noisy[:6], exact[:6])
    deviation = (noisy - exact)[6:].std() / exact.std()
    assert 0.005 < deviation < 0.02
    gap = grow(teacher, large, x, noise=0.01, seed=1).eval()(x) - teacher.eval()(x)
    assert 0 < gap.abs().max() < 0.2


def test_outgoing_weights_are_shared_out_among_the_copies() -> None:
    small, large = MLP(**FLAT, hidden=(2,)), MLP(**FLAT, hidden=(9,))
    teacher = lived_in(small)
    student = grow(teacher, large, examples(small), noise=0, seed=1)
    incoming, outgoing = student.layers[0].weight, student.layers[1].weight
    for unit in (0, 1):
        copies = (incoming == teacher.layers[0].weight[unit]).all(dim=1)
        total = outgoing[:, copies].sum(dim=1)
        torch.testing.assert_close(total, teacher.layers[1].weight[:, unit])


@pytest.mark.parametrize(
    ("small", "large", "words"),
    [
        (MLP(**FLAT, hidden=(8,)), ConvNet(**IMAGE), "a mlp, the student a convnet"),
        (MLP(**FLAT, hidden=(8,)), MLP(inputs=13, classes=5), "reads 12 for 5 classes"),
        (MLP(**FLAT, hidden=(8, 6)), MLP(**FLAT, hidden=(8,)), r"\[8, 6\] units .* become \[8\]"),
        (MLP(**FLAT, hidden=()), MLP(**FLAT, hidden=(8,)), r"\[\] units"),
        (MLP(**FLAT, hidden=(8,)), MLP(**FLAT, hidden=(8, 6)), "one as wide"),
        (ConvNet(**IMAGE, channels=(4,)), ConvNet(**IMAGE, channels=(4, 4)), "1 stages"),
        (ConvNet(**IMAGE, channels=(4,)), ConvNet(**IMAGE, channels=(3,)), "3 x 3 x 5 x 5"),
        (ResNet(**IMAGE, depth=14), ResNet(**IMAGE, depth=8), "not as deep"),
        (ResNet(**IMAGE, depth=8), ResNet(**IMAGE, depth=8, width=4), "downsample"),
        (WideResNet(**IMAGE, widen=1), WideResNet(**IMAGE, widen=2), "convShortcut"),
        (ResNet(**IMAGE, depth=8, width=4), ResNet(**IMAGE, depth=8, width=3), "smaller than"),
    ],
    ids=str,
)
def test_shapes_that_cannot_grow_are_named(small: Network, large: Network, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        growth(small, large)
