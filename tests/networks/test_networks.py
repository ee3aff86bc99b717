"""The specification of a network and its module say the same."""

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from app.spec.networks import FAMILIES, MLP, VGG, ConvNet, Network, ResNet, WideResNet
from workers.networks import build, module_of

SPECS = [
    MLP(),
    MLP(inputs=20, hidden=(), classes=3),
    MLP(inputs=12, hidden=(8, 7, 6), dropout=0.5, input_dropout=0.2, max_norm=2.0),
    ConvNet(),
    ConvNet(inputs=(3, 17, 22), channels=(4, 8, 8), hidden=(), classes=5),
    ConvNet(inputs=(1, 8, 8), channels=(6,), hidden=(9, 7), dropout=0.3),
    ResNet(depth=8),
    ResNet(depth=14, width=2, inputs=(1, 28, 28), classes=7),
    ResNet(depth=8, width=4, classes=100),
    WideResNet(depth=10, widen=1),
    WideResNet(depth=16, widen=2, inputs=(1, 15, 9), dropout=0.3, classes=4),
    VGG(depth=8),
    VGG(depth=13, inputs=(1, 28, 30)),
    VGG(depth=19, inputs=(4, 64, 64), classes=3),
]
each_spec = pytest.mark.parametrize("spec", SPECS, ids=repr)


def example(spec: Network, size: int) -> torch.Tensor:
    return torch.randn(size, *spec.input_shape)


def test_every_family_has_a_module() -> None:
    for family, spec in FAMILIES.items():
        assert spec.model_fields["family"].default == family
        assert module_of.dispatch(spec) is not module_of.dispatch(object)


@each_spec
def test_the_trace_names_the_module_s_tensors(spec: Network) -> None:
    with torch.device("meta"):
        module = build(spec)
    state = module.state_dict()
    assert spec.tensors == {name: tuple(tensor.shape) for name, tensor in state.items()}
    dtypes = {name: f"torch.{spec.trace().dtype(name)}" for name in state}
    assert dtypes == {name: str(tensor.dtype) for name, tensor in state.items()}
    assert spec.parameters == sum(parameter.numel() for parameter in module.parameters())


@each_spec
def test_the_trace_counts_the_module_s_flops(spec: Network) -> None:
    with torch.device("meta"):
        module = build(spec).eval()
        with FlopCounterMode(display=False) as counter:
            module(example(spec, 3))
    assert counter.get_total_flops() == 3 * spec.flops


@each_spec
def test_taps_are_submodules_with_these_outputs(spec: Network) -> None:
    shapes = {}
    with torch.device("meta"):
        module = build(spec)
        for name in spec.taps:
            module.get_submodule(name).register_forward_hook(
                lambda _module, _args, output, name=name: shapes.update({name: output.shape[1:]})
            )
        logits = module(example(spec, 2))
    assert list(shapes.items()) == list(spec.taps.items())
    assert logits.shape == (2, spec.classes)


@pytest.mark.parametrize(
    "spec",
    [
        MLP(inputs=12, hidden=(8, 7, 6), dropout=0.5, input_dropout=0.2),
        ConvNet(inputs=(1, 8, 8), channels=(6, 4), hidden=(9, 7)),
        ResNet(depth=8, inputs=(3, 8, 8)),
        WideResNet(depth=10, widen=2, inputs=(3, 8, 8), dropout=0.3),
        VGG(depth=8, inputs=(3, 16, 16)),
    ],
    ids=lambda spec: spec.family,
)
def test_the_trace_counts_what_backward_keeps(spec: Network) -> None:
    module = build(spec)
    weights = {tensor.data_ptr() for tensor in module.state_dict().values()}

    def kept(size: int) -> int:
        """Floats held by autograd after a forward pass, each piece of memory counted once."""
        storages = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.data_ptr() not in weights:
                bytes_each = 4 if tensor.dtype == torch.bool else tensor.element_size()
                storages[tensor.data_ptr()] = (tensor, tensor.numel() * bytes_each // 4)
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            module(example(spec, size))
        return sum(floats for _, floats in storages.values())

    # A difference, since BatchNorm also keeps its statistics, once a batch.
    assert kept(5) - kept(3) == 2 * spec.activations


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        (MLP(), 784 * 1200 + 1200 + 1200 * 1200 + 1200 + 1200 * 10 + 10),
        (ResNet(depth=20, classes=100), 278_324),
        (ResNet(depth=56, classes=100), 861_620),
        (ResNet(depth=110, classes=100), 1_736_564),
        (ResNet(depth=8, width=4, classes=100), 1_233_540),
        (ResNet(depth=32, width=4, classes=100), 7_433_860),
        (WideResNet(depth=16, widen=2, classes=100), 703_284),
        (WideResNet(depth=40, widen=2, classes=100), 2_255_156),
        (VGG(depth=8, classes=100), 3_965_028),
        (VGG(depth=13, classes=100), 9_462_180),
    ],
    ids=repr,
)
def test_published_sizes(spec: Network, parameters: int) -> None:
    assert spec.parameters == parameters


@each_spec
def test_the_classifier_is_the_last_linear_layer(spec: Network) -> None:
    with torch.device("meta"):
        module = build(spec)
    linear = [m for m in module.modules() if isinstance(m, nn.Linear)]
    assert module.classifier is linear[-1]
    assert module.classifier is module.get_submodule(spec.classifier)
    assert spec.tensors[f"{spec.classifier}.weight"][0] == spec.classes


@pytest.mark.parametrize("spec", [SPECS[2], SPECS[5], SPECS[6], SPECS[9], SPECS[11]], ids=repr)
def test_a_seed_decides_the_weights_and_disturbs_nothing(spec: Network) -> None:
    before = torch.get_rng_state()
    first, again, other = (build(spec, seed=seed).state_dict() for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_seed_works_on_the_meta_device() -> None:
    with torch.device("meta"):
        assert build(ResNet(), seed=1).fc.weight.is_meta


def test_the_mlp_starts_from_he_initialisation() -> None:
    layer = build(MLP(), seed=0).layers[1]
    assert layer.weight.std().item() == pytest.approx((2 / 1200) ** 0.5, rel=0.01)
    assert not layer.bias.any()


@pytest.mark.parametrize("spec", [SPECS[4], SPECS[7], SPECS[10], SPECS[12]], ids=repr)
def test_the_memory_format_changes_nothing(spec: Network) -> None:
    module = build(spec, seed=0).eval()
    x = example(spec, 2)
    expected = module(x)
    module.to(memory_format=torch.channels_last)
    actual = module(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_max_norm_shortens_only_the_hidden_units_that_are_too_long() -> None:
    module = build(MLP(inputs=6, hidden=(4, 3), classes=2, max_norm=1.0), seed=0)
    before = [layer.weight.detach().clone() for layer in module.layers]
    before[0][1] = 0.01
    with torch.no_grad():
        for layer, weight in zip(module.layers, before, strict=True):
            layer.weight.copy_(weight)
    module.constrain()
    for layer, weight in zip(module.layers[:-1], before[:-1], strict=True):
        norms = weight.norm(dim=1, keepdim=True)
        torch.testing.assert_close(layer.weight.data, weight / norms.clamp(min=1.0))
    torch.testing.assert_close(module.layers[-1].weight.data, before[-1])
    assert torch.equal(module.layers[0].weight[1], before[0][1])


def test_without_max_norm_constraining_does_nothing() -> None:
    module = build(MLP(inputs=6, hidden=(4,), classes=2), seed=0)
    before = module.layers[0].weight.detach().clone()
    module.constrain()
    assert torch.equal(module.layers[0].weight, before)


@each_spec
def test_the_trunk_holds_the_weights_below_the_last_block(spec: Network) -> None:
    """A branch keeps only what its block and head read; the trunk reads nothing else."""
    whole, trunk, branch = (build(spec, seed=0).eval() for _ in range(3))
    x = example(spec, 3)
    for name in spec.trunk:
        branch.set_submodule(name, nn.Identity())
    kept = {f"{name}." for name in spec.trunk}
    own = {t for t in trunk.state_dict() if not any(t.startswith(name) for name in kept)}
    assert set(branch.state_dict()) == own
    with torch.no_grad():
        for name, tensor in trunk.state_dict().items():
            if name in own:
                tensor.fill_(torch.nan) if tensor.is_floating_point() else None
    h = trunk.run_trunk(x)
    assert h.isfinite().all()
    torch.testing.assert_close(branch.run_head(branch.run_block(h)), whole(x))
