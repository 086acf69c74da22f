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


def worst_case(network: nn.Sequential) -> list[Tensor]:
    """By layer: the largest magnitude of each output for any input in 0..1, by interval arithmetic, [1, ..].

    Batch normalisation counts as the affine map of its running statistics.
    """
    low = torch.zeros(1, 1, 28, 28).to(network.output.weight)
    high = torch.ones_like(low)
    found = []
    for layer in network:
        low, high = through(layer, low, high)
        found.append(torch.maximum(high, -low))
    return found


def through(layer: nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The interval that `layer` makes of the one from `low` to `high`."""
    if isinstance(layer, nn.Flatten):
        return layer(low), layer(high)
    if isinstance(layer, Square):
        across = (low < 0) & (high > 0)
        return torch.minimum(low * low, high * high) * ~across, torch.maximum(low * low, high * high)
    centre, radius = (low + high) / 2, (high - low) / 2
    if isinstance(layer, nn.Conv2d):
        centre = layer(centre)
        radius = functional.conv2d(radius, layer.weight.abs(), stride=layer.stride, padding=layer.padding)
    elif isinstance(layer, nn.Linear):
        centre = layer(centre)
        radius = functional.linear(radius, layer.weight.abs())
    else:
        statistics = (layer.running_mean, layer.running_var)
        centre = functional.batch_norm(centre, *statistics, layer.weight, layer.bias, eps=layer.eps)
        none = torch.zeros_like(layer.running_mean)
        radius = functional.batch_norm(radius, none, layer.running_var, layer.weight.abs(), eps=layer.eps)
    return centre - radius, centre + radius
