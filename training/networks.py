"""The two networks: convolution, square, dense, square, dense.

Input [N, 1, 28, 28], pixel/255. Output [N, 10], logits.
"""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

# Largest |value| before each square over the training images, after `balance`.
CONVOLUTION_BOUND = 2.0
HIDDEN_BOUND = 8.0


class Square(nn.Module):
    """`x * x`, the activation that homomorphic encryption evaluates exactly."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x


def cryptonets() -> nn.Sequential:
    """CryptoNets with its linear layers merged: 5 maps of 13x13 = 845, 100, 10.

    R. Gilad-Bachrach et al., "CryptoNets", ICML 2016, section 3.

    Windows start at -1, 1, .., 23, so that only the row above and the column to the left of the image are
    padding: the row below and the column to the right, which torch adds too, are never read.
    """
    return stack(nn.Conv2d(1, 5, kernel_size=5, stride=2, padding=1), hidden_inputs=845, hidden=100)


def e2dm() -> nn.Sequential:
    """The network of E2DM: 4 maps of 8x8 = 256, 64, 10.

    X. Jiang, M. Kim, K. Lauter, Y. Song, "Secure outsourced matrix computation", CCS 2018, section 6.
    """
    return stack(nn.Conv2d(1, 4, kernel_size=7, stride=3), hidden_inputs=256, hidden=64)


def stack(convolution: nn.Conv2d, hidden_inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            convolution=convolution,
            square1=Square(),
            flatten=nn.Flatten(),
            hidden=nn.Linear(hidden_inputs, hidden),
            square2=Square(),
            output=nn.Linear(hidden, 10),
        )
    )


@torch.no_grad()
def initialise(network: nn.Sequential, images: Tensor) -> None:
    """Draws the weights so that the values before both squares have deviation 1 on `images`.

    The outputs start near zero. Without this the squares make the first gradients explode.
    """
    values = images
    for layer in network:
        if hasattr(layer, "weight"):
            layer.bias.zero_()
            layer.weight.normal_(0, 1 / math.sqrt(layer.weight[0].numel()))
            layer.weight.div_(layer(values).std())
        values = layer(values)
    network.output.weight.mul_(0.1)


@torch.no_grad()
def balance(network: nn.Sequential, images: Tensor) -> None:
    """Rescales maps and hidden units so that none stands out, without changing the function.

    A unit multiplied by `s` before its square is undone by `1/s^2` after it. Each map is brought to
    |value| <= CONVOLUTION_BOUND and each hidden unit to <= HIDDEN_BOUND on `images`. Ciphertexts carry one
    scale for all units, so one unit with a wide range would cost all the others precision.
    """
    network.double()
    maps = network.convolution(images.double()).abs().amax(dim=(0, 2, 3))
    rescale(network.convolution, network.hidden, CONVOLUTION_BOUND / maps)
    units = network[:4](images.double()).abs().amax(dim=0)
    rescale(network.hidden, network.output, HIDDEN_BOUND / units)
    network.float()


def rescale(before: nn.Module, after: nn.Linear, factors: Tensor) -> None:
    """Multiplies the outputs of `before` by `factors`, one each, and undoes it in `after`, behind the square."""
    before.weight.mul_(factors.reshape(-1, *[1] * (before.weight.dim() - 1)))
    before.bias.mul_(factors)
    inputs_per_factor = after.in_features // len(factors)
    after.weight.div_(factors.square().repeat_interleave(inputs_per_factor))
