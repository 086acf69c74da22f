"""The networks: convolutions and dense layers with squares between them, some after batch normalisation.

Input [N, 1, 28, 28], pixel/255. Output [N, 10], logits.
"""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn


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


def lola_small() -> nn.Sequential:
    """LoLa-Small: 5 maps of 13x13 = 845, in the windows of `cryptonets`, and 10.

    A. Brutzkus, O. Elisha, R. Gilad-Bachrach, "Low latency privacy preserving inference", ICML 2019, section 5.
    """
    return nn.Sequential(
        OrderedDict(
            convolution=nn.Conv2d(1, 5, kernel_size=5, stride=2, padding=1),
            square1=Square(),
            flatten=nn.Flatten(),
            output=nn.Linear(845, 10),
        )
    )


def mlp() -> nn.Sequential:
    """784, 128, 128, 10, dense."""
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            hidden1=nn.Linear(784, 128),
            square1=Square(),
            hidden2=nn.Linear(128, 128),
            square2=Square(),
            output=nn.Linear(128, 10),
        )
    )


def lola() -> nn.Sequential:
    """LoLA-MNIST of Orion: 5 maps of 14x14 = 980, 100, 10, normalised before each square.

    A. Ebel, K. Garimella, B. Reagen, "Orion: a fully homomorphic encryption framework for deep learning",
    ASPLOS 2025.
    """
    return nn.Sequential(
        OrderedDict(
            convolution=nn.Conv2d(1, 5, kernel_size=2, stride=2),
            norm1=nn.BatchNorm2d(5),
            square1=Square(),
            flatten=nn.Flatten(),
            hidden=nn.Linear(980, 100),
            norm2=nn.BatchNorm1d(100),
            square2=Square(),
            output=nn.Linear(100, 10),
        )
    )


def lenet() -> nn.Sequential:
    """LeNet-5 of Orion: 32 maps of 14x14, 64 maps of 7x7 = 3136, 512, 10, normalised before each square.

    Paper: that of `lola`.
    """
    return nn.Sequential(
        OrderedDict(
            convolution1=nn.Conv2d(1, 32, kernel_size=5, stride=2, padding=2),
            norm1=nn.BatchNorm2d(32),
            square1=Square(),
            convolution2=nn.Conv2d(32, 64, kernel_size=5, stride=2, padding=2),
            norm2=nn.BatchNorm2d(64),
            square2=Square(),
            flatten=nn.Flatten(),
            hidden=nn.Linear(3136, 512),
            norm3=nn.BatchNorm1d(512),
            square3=Square(),
            output=nn.Linear(512, 10),
        )
    )


@torch.no_grad()
def initialise(network: nn.Sequential, images: Tensor) -> None:
    """Draws the weights so that the values before all squares have deviation 1 on `images`.

    The outputs start near zero. Without this the squares make the first gradients explode.
    """
    values = images
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.bias.zero_()
            layer.weight.normal_(0, 1 / math.sqrt(layer.weight[0].numel()))
            layer.weight.div_(layer(values).std())
        values = layer(values)
    network.output.weight.mul_(0.1)
