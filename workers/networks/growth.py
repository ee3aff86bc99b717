"""Function-preserving growth: Net2DeeperNet and Net2WiderNet (Chen, Goodfellow and Shlens 2016)."""

import torch
from torch import Tensor, nn

from app.spec.growth import axes, growth
from app.spec.networks import VGG, Network, WideResNet
from workers.networks import Net, build


def grow(teacher: Net, spec: Network, examples: Tensor, *, noise: float, seed: int) -> Net:
    """A network of `spec` that starts as the teacher's function: exactly so in eval mode, where
    `noise` is 0 or nothing is widened.

    `examples` N x inputs, as the teacher reads them, give new BatchNorms their statistics. Raises
    ValueError where shapes forbid it (`app.spec.growth`).
    """
    deeper = deepen(teacher, spec, examples, seed=seed)
    return widen(deeper, spec, noise=noise, seed=seed)


def deepen(teacher: Net, spec: Network, examples: Tensor, *, seed: int) -> Net:
    """The teacher at the depth of `spec`; the new layers change nothing."""
    found = growth(teacher.spec, spec)
    network = build(found.deeper, seed=seed)
    theirs = teacher.state_dict()
    state = {
        name: theirs[found.sources[name]] if name in found.sources else tensor
        for name, tensor in network.state_dict().items()
    }
    network.load_state_dict(state)
    new = {name for name in state if name not in found.sources}
    with torch.no_grad():
        _be_identities(network, new)
        _take_statistics(network, new, examples)
    return network


def _be_identities(network: Net, new: set[str]) -> None:
    """What is added to a residual sum becomes zero; everything else becomes the identity."""
    residual = {"bn2.weight"} if not isinstance(network.spec, WideResNet) else {"conv2.weight"}
    for name in sorted(new):
        module = network.get_submodule(name.rpartition(".")[0])
        tensor = network.state_dict()[name]
        if ".".join(name.split(".")[-2:]) in residual:
            tensor.zero_()
        elif isinstance(module, nn.Linear) and name.endswith("weight"):
            tensor.copy_(torch.eye(len(tensor)))
        elif isinstance(network.spec, VGG) and isinstance(module, nn.Conv2d) and tensor.ndim == 4:
            nn.init.dirac_(tensor)
        elif name.endswith("bias"):
            tensor.zero_()


def _take_statistics(network: Net, new: set[str], examples: Tensor) -> None:
    """A new BatchNorm between layers undoes itself: gamma = sqrt(var + eps), beta = mean."""
    if not isinstance(network.spec, VGG):
        return
    names = {name.rpartition(".")[0] for name in new if name.endswith("running_var")}

    def undo(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)  # noqa: S101
        assert norm.running_var is not None and norm.running_mean is not None  # noqa: S101, PT018
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        norm.running_var.copy_(var)
        norm.running_mean.copy_(mean)
        norm.weight.copy_((var + norm.eps).sqrt())
        norm.bias.copy_(mean)

    hooks = [network.get_submodule(name).register_forward_pre_hook(undo) for name in names]
    network.eval()(examples.cpu())  # where it was built
    network.train()
    for hook in hooks:
        hook.remove()


def widen(network: Net, spec: Network, *, noise: float, seed: int) -> Net:
    """The same function with more units: copies of random ones.

    Unit j copies g(j), itself where there is one. Incoming weights are copied, outgoing ones
    divided by the number of copies, BatchNorms copied whole. `noise` is the deviation of what is
    added to the copies' incoming weights, in deviations of those weights: equal units stay equal.
    """
    generator = torch.Generator().manual_seed(seed)
    made = build(spec, seed=seed)
    old, new = network.state_dict(), made.state_dict()
    copied: dict[int, Tensor] = {}
    with torch.no_grad():
        for name, its_axes in axes(spec).items():
            tensor = old[name].cpu()
            fresh = torch.zeros(len(new[name]) if new[name].ndim else 0, dtype=torch.bool)
            for dim, axis in enumerate(its_axes):
                small, large = tensor.shape[dim], new[name].shape[dim]
                if small == large:
                    continue
                if axis.units not in copied:
                    small, large = small // axis.each, large // axis.each
                    more = torch.randint(small, (large - small,), generator=generator)
                    copied[axis.units] = torch.cat([torch.arange(small), more])
                source = copied[axis.units]
                index = (source[:, None] * axis.each + torch.arange(axis.each)).flatten()
                tensor = tensor.index_select(dim, index)
                if axis.reads:
                    shares = source.bincount()[source].repeat_interleave(axis.each)
                    tensor = tensor / shares.view(
                        [-1 if d == dim else 1 for d in range(tensor.ndim)]
                    )
                else:
                    fresh[len(source.unique()) :] = True
            if noise and len(its_axes) == 2 and fresh.any():
                drawn = torch.randn(tensor.shape, generator=generator)[fresh]
                tensor[fresh] += noise * tensor.std() * drawn
            new[name].copy_(tensor)
    return made
