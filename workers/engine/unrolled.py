"""Gradient descent that can itself be differentiated."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

Weights = dict[str, Tensor]


def descend(
    network: nn.Module,
    start: Weights,
    images: Tensor,
    labels: Tensor,
    rates: Tensor,
    *,
    differentiable: bool,
) -> Weights:
    """theta_n from theta_0 by plain gradient descents on synthetic batches.

    `images` S x M x inputs, `labels` M, `rates` P x S: descent (p, s) moves by -rates[p, s] times
    the gradient of the cross-entropy on images[s] (Wang et al. 2018, equation 3 and section 3.4).
    Differentiable with respect to images, rates and start where that is asked for.
    """
    theta = start
    for pass_rates in rates:
        for batch, rate in zip(images, pass_rates, strict=True):
            loss = F.cross_entropy(functional_call(network, theta, (batch,)), labels)
            gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=differentiable)
            theta = {
                name: value - rate * gradient
                for (name, value), gradient in zip(theta.items(), gradients, strict=True)
            }
            if not differentiable:
                theta = {name: value.detach().requires_grad_() for name, value in theta.items()}
    return theta


def weights_of(network: nn.Module) -> Weights:
    """A network's parameters as leaves of their own."""
    return {
        name: value.detach().clone().requires_grad_() for name, value in network.named_parameters()
    }
