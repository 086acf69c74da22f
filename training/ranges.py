"""How large values can become: for the worst input, and for given images."""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from networks import Square

# Images in a step: the maps of more would fill the memory.
CHUNK = 500


@dataclass
class Seen:
    """The values of a layer over some images."""

    largest: Tensor
    """Largest magnitude by map or unit."""
    rms: float
    """Root of the mean square over images and values."""
    spatial: bool
    """Whether the units are maps."""


@torch.no_grad()
def observed(network: nn.Sequential, images: Tensor) -> list[Seen]:
    """By layer: its values on `images`, in the network's precision."""
    largest: list[Tensor | float] = [0.0] * len(network)
    squares, spatial = [0.0] * len(network), [False] * len(network)
    for values in images.split(CHUNK):
        values = values.to(network.output.weight)
        for index, layer in enumerate(network):
            values = layer(values)
            largest[index] = by_unit(values).clamp(min=largest[index])
            squares[index] += values.square().mean().item() * len(values) / len(images)
            spatial[index] = values.dim() == 4
    return [Seen(*layer) for layer in zip(largest, [square**0.5 for square in squares], spatial, strict=True)]


def by_unit(values: Tensor) -> Tensor:
    """The largest magnitude of each map or unit: `values` [N, C, H, W] or [N, C] become [C]."""
    return values.abs().transpose(0, 1).flatten(1).amax(dim=1)


Statistics = dict[nn.Module, tuple[Tensor, Tensor]]
"""Of batch normalisations: mean and variance by map or unit."""


def batch_statistics(network: nn.Sequential) -> Statistics:
    """Where every forward pass of `network` leaves the statistics of its batch, differentiable."""
    kept: Statistics = {}

    def keep(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0].transpose(0, 1).flatten(1), dim=1, correction=0)
        kept[layer] = mean, variance

    for layer in network:
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.register_forward_pre_hook(keep)
    return kept


def worst_case(network: nn.Sequential, statistics: Statistics | None = None) -> list[Tensor]:
    """By layer: the largest magnitude of each output for any input in 0..1, by interval arithmetic, [1, ..].

    Batch normalisation counts as the affine map of `statistics`, or of its running ones. The gradient of a loss must
    pass through the former: by the latter, weights before a normalisation would seem to lower its result by shrinking.
    """
    low = torch.zeros(1, 1, 28, 28).to(network.output.weight)
    high = torch.ones_like(low)
    found = []
    for layer in network:
        if isinstance(layer, nn.Flatten):
            low, high = layer(low), layer(high)
        elif isinstance(layer, Square):
            low, high = squared(low, high)
        else:
            centre, radius = affine(layer, (low + high) / 2, (high - low) / 2, statistics or {})
            low, high = centre - radius, centre + radius
        found.append(torch.maximum(high, -low))
    return found


def squared(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The interval of the squares of the numbers from `low` to `high`."""
    across = (low < 0) & (high > 0)
    return torch.minimum(low * low, high * high) * ~across, torch.maximum(low * low, high * high)


def affine(layer: nn.Module, centre: Tensor, radius: Tensor, statistics: Statistics) -> tuple[Tensor, Tensor]:
    """Centre and radius of what an affine `layer` makes of all numbers within `radius` of `centre`."""
    match layer:
        case nn.Conv2d(stride=stride, padding=padding):
            return layer(centre), functional.conv2d(radius, layer.weight.abs(), stride=stride, padding=padding)
        case nn.Linear():
            return layer(centre), functional.linear(radius, layer.weight.abs())
        case _:
            mean, variance = statistics.get(layer, (layer.running_mean, layer.running_var))
            factors = layer.weight / (variance + layer.eps).sqrt()
            shape = [-1, *[1] * (centre.dim() - 2)]
            shift = (layer.bias - mean * factors).reshape(shape)
            factors = factors.reshape(shape)
            return centre * factors + shift, radius * factors.abs()
