"""Scaling units against each other after training, without changing the function."""

import torch
from torch import Tensor, nn

import ranges
from networks import Square

# Largest |value| before a square over the training images: of a convolution, of a dense layer.
CONVOLUTION_BOUND = 2.0
DENSE_BOUND = 8.0


@torch.no_grad()
def balance(network: nn.Sequential, images: Tensor, by_worst_case: bool) -> None:
    """Rescales the maps and units before each square so that none stands out.

    A unit multiplied by `s` before its square is undone by `1/s^2` after it. Each map of a convolution is brought to
    |value| <= CONVOLUTION_BOUND and each dense unit to <= DENSE_BOUND on `images`. Ciphertexts carry one scale for
    all units, so one unit with a wide range would cost all the others precision.

    By worst case, all units of a layer get the same largest magnitude over every input in 0..1, and the layer as a
    whole the bound on `images`: that is what decides when the modulus must hold whatever a client sends.
    """
    network.double()
    layers = list(network)
    seen = ranges.observed(network, images)
    worst = [ranges.by_unit(magnitudes) for magnitudes in ranges.worst_case(network)]
    for index, layer in enumerate(layers):
        if not isinstance(layer, Square):
            continue
        following = next(later for later in layers[index:] if isinstance(later, nn.Conv2d | nn.Linear))
        before = index - 1
        bound = CONVOLUTION_BOUND if seen[before].spatial else DENSE_BOUND
        largest = seen[before].largest
        factors = bound * (worst[before] / largest).min() / worst[before] if by_worst_case else bound / largest
        rescale(layers[before], following, factors)
    network.float()


def rescale(before: nn.Module, after: nn.Conv2d | nn.Linear, factors: Tensor) -> None:
    """Multiplies the outputs of `before` by `factors`, one each, and undoes it in `after`, behind the square."""
    before.weight.mul_(factors.reshape(-1, *[1] * (before.weight.dim() - 1)))
    before.bias.mul_(factors)
    inputs_per_factor = after.weight.shape[1] // len(factors)
    undone = factors.square().repeat_interleave(inputs_per_factor)
    after.weight.div_(undone.reshape(1, -1, *[1] * (after.weight.dim() - 2)))
