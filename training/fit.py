"""The training loop."""

import math
import time
from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from augment import distort
from ranges import batch_statistics, worst_case


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Chosen on held-out training images, never on the test images."""

    epochs: int
    learning_rate: float
    weight_decay: float
    batch: int = 256
    warm_up_steps: int = 200
    gradient_norm: float = 1.0
    averaging: float = 0.999
    # What the loss takes of the logarithm of the largest logit that any input in 0..1 could cause.
    worst_case: float = 0.0


def fit(network: nn.Module, images: Tensor, labels: Tensor, held_out: tuple[Tensor, Tensor], recipe: Recipe) -> nn.Module:
    """Trains `network` on distorted `images` and returns the moving average of its weights at the last step.

    AdamW, cosine schedule after a linear warm-up, gradients clipped to a norm. `held_out` is only reported.
    The statistics of batch normalisation are averaged with the weights; the result is in evaluation mode.
    """
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
    )
    average = deepcopy(network).eval()
    statistics = batch_statistics(network)
    steps_per_epoch = len(images) // recipe.batch
    steps = recipe.epochs * steps_per_epoch
    started = time.monotonic()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(images))
        total = 0.0
        for index in range(steps_per_epoch):
            step = epoch * steps_per_epoch + index
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * schedule(step, steps, recipe.warm_up_steps)
            chosen = order[index * recipe.batch : (index + 1) * recipe.batch]
            loss = functional.cross_entropy(network(distort(images[chosen])), labels[chosen])
            total += loss.item()
            if recipe.worst_case:
                loss = loss + recipe.worst_case * worst_case(network, statistics)[-1].mean().log()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_norm)
            optimiser.step()
            # Early averages forget the start quickly.
            follow(average, network, min(recipe.averaging, (step + 1) / (step + 11)))
        if (epoch + 1) % 5 == 0 or epoch + 1 == recipe.epochs:
            right = f"{correct(average(held_out[0]), held_out[1])} of {len(held_out[1])} held out"
            seconds = time.monotonic() - started
            print(f"epoch {epoch + 1:3}  loss {total / steps_per_epoch:.4f}  {right}  {seconds:.0f} s", flush=True)
    return average


def schedule(step: int, steps: int, warm_up: int) -> float:
    """Fraction of the learning rate at `step` of `steps`."""
    return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Moves the weights and statistics of `average` towards those of `network`."""
    for kept, current in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        # Batch normalisation also counts its batches, which nothing reads.
        if kept.is_floating_point():
            kept.lerp_(current, 1 - decay)


@torch.no_grad()
def correct(logits: Tensor, labels: Tensor) -> int:
    """How many rows of `logits` [N, 10] are largest at their label."""
    return int((logits.argmax(dim=1) == labels).sum())
