"""Inner layers listened to: the right outputs, nothing else disturbed."""

import copy

import pytest
import torch

from app.spec.networks import MLP, VGG, ConvNet, Network, ResNet, WideResNet
from workers.engine.stages import Batch
from workers.engine.taps import LiveTeacher, tapped, tapped_up_to
from workers.networks import build
from workers.networks.preprocess import Preprocessed

SPECS = [
    MLP(inputs=12, hidden=(8, 7, 6), dropout=0.5),
    ConvNet(inputs=(1, 8, 8), channels=(4, 6), hidden=(9,)),
    ResNet(depth=8, inputs=(3, 8, 8)),
    WideResNet(depth=10, widen=1, inputs=(3, 8, 8)),
    VGG(depth=8, inputs=(3, 16, 16)),
]
each_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.family)


def network_and_batch(spec: Network) -> tuple[Preprocessed, torch.Tensor]:
    network = Preprocessed(build(spec, seed=3)).to(memory_format=torch.channels_last)
    shape = spec.input_shape
    stored = shape if len(shape) == 1 else (*shape[1:], shape[0])
    return network, torch.randn(4, *stored, generator=torch.Generator().manual_seed(1))


@each_spec
def test_every_tap_of_a_family(spec: Network) -> None:
    network, inputs = network_and_batch(spec)
    network.eval()
    names = list(spec.taps)[::-1]  # any order
    logits, features = tapped(network, inputs, names)
    torch.testing.assert_close(logits, network(inputs))
    for name, feature in zip(names, features, strict=True):
        assert tuple(feature.shape[1:]) == spec.taps[name]
        assert bool((feature >= 0).all()) == spec.rectified(name)
    # Nothing of the rest of the pass has changed the outputs in place.
    upto = [tapped_up_to(network, inputs, [name])[0] for name in names]
    torch.testing.assert_close(features, upto)
    torch.stack([feature.square().mean() for feature in features]).sum().backward()


@each_spec
def test_no_hook_stays(spec: Network) -> None:
    network, inputs = network_and_batch(spec)
    name = next(iter(spec.taps))
    tapped(network, inputs, [name])
    tapped_up_to(network, inputs, [name])
    with pytest.raises(RuntimeError):
        tapped(network, inputs.repeat_interleave(2, dim=-1), [name])
    assert all(not module._forward_hooks for module in network.modules())
    copy.deepcopy(network)


@pytest.mark.parametrize("spec", SPECS[2:], ids=lambda spec: spec.family)
def test_what_lies_above_the_guided_layer_is_left_alone(spec: Network) -> None:
    network, inputs = network_and_batch(spec)
    before = {name: value.clone() for name, value in network.network.state_dict().items()}
    names = list(spec.taps)
    tapped_up_to(network, inputs, [names[1]])[0].sum().backward()
    moved = {n for n, value in network.network.state_dict().items() if not value.equal(before[n])}
    learning = {n for n, p in network.network.named_parameters() if p.grad is not None}
    above = (*tuple(f"{name}." for name in names[2:]), "fc.")
    assert moved
    assert learning
    assert not any(name.startswith(above) for name in moved | learning)


def test_a_live_teacher_sees_the_batch_and_stays_as_it_is() -> None:
    network, inputs = network_and_batch(SPECS[2])
    network.requires_grad_(False).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    teacher = LiveTeacher(network, ["layer2", "pool"])
    batch = Batch(inputs, None, torch.arange(4), 0)
    logits, (maps, pooled) = teacher(batch)
    assert not any(t.requires_grad or t.is_inference() for t in (logits, maps, pooled))
    torch.testing.assert_close(teacher.up_to(inputs), [maps, pooled])
    # In eval mode an example's features do not depend on the rest of its batch.
    torch.testing.assert_close(teacher.up_to(inputs[:2])[0], maps[:2])
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    assert not network.training
