"""Random distortions of digits, made anew for every batch."""

import math

import torch
import torch.nn.functional as functional
from torch import Tensor

ROTATION = math.radians(12)
SHEAR = 0.15
STRETCH = 0.12
SHIFT = 1.5 / 14  # 1.5 pixels: the grid's unit is half the width of the image


def distort(images: Tensor) -> Tensor:
    """`images` [N, 1, H, W], each rotated, sheared, stretched and shifted by its own amounts.

    Each amount is uniform in plus or minus the constant above; bilinear sampling, black outside.
    """
    count = len(images)

    def uniform(bound: float) -> Tensor:
        return (2 * torch.rand(count) - 1) * bound

    angle, shear = uniform(ROTATION), uniform(SHEAR)
    across, down = 1 + uniform(STRETCH), 1 + uniform(STRETCH)
    cosine, sine = angle.cos(), angle.sin()
    first = torch.stack([cosine * across, (shear - sine) * across, uniform(SHIFT)], dim=1)
    second = torch.stack([sine * down, cosine * down, uniform(SHIFT)], dim=1)
    grid = functional.affine_grid(torch.stack([first, second], dim=1), images.shape, align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)
