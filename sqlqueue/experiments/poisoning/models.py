"""The two model types, built on the CPU from a seed so that every device starts equal.

`lr` is a multi-layer perceptron (with depth 1 and no skew it behaves much like the logistic
regression that its name comes from); `cnn` is convolution, batch normalisation, ReLU, and
averages over what is left of the image before its linear head, so it takes any image size.
How wide and deep: `architecture.py`.

A model's *weights* here are one flat vector of its parameters and its batch normalisation
statistics: that is what clients send and what is averaged.  The batch counters are not in
it: with a fixed momentum nothing is computed from them.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from sqlqueue.experiments.poisoning.architecture import (
    POOLINGS,
    channel_counts,
    hidden_widths,
)


class SpatialMean(nn.Module):
    """Averages each channel over the image; unlike adaptive pooling, deterministic on GPUs."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def build(
    model_type: str, shape: torch.Size, classes: int, width_factor: int, depth: int, seed: int
) -> nn.Sequential:
    """A new model for images of `shape` (channels, height, width).

    Its weights depend on `seed` alone; the process's random state is as before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if model_type == "lr":
            return _perceptron(shape.numel(), classes, width_factor, depth)
        return _convolutional(shape[0], classes, width_factor, depth)


def _perceptron(pixels: int, classes: int, width_factor: int, depth: int) -> nn.Sequential:
    widths = [pixels, *hidden_widths(width_factor, depth)]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


def _convolutional(channels: int, classes: int, width_factor: int, depth: int) -> nn.Sequential:
    counts = [channels, *channel_counts(width_factor, depth)]
    layers: list[nn.Module] = []
    for layer, (before, after) in enumerate(pairwise(counts)):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
        if layer < POOLINGS:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, SpatialMean(), nn.Linear(counts[-1], classes))


def count_parameters(model: nn.Module) -> int:
    """Trainable numbers; batch normalisation statistics are not."""
    return sum(each.numel() for each in model.parameters())


def weights_of(model: nn.Module) -> Tensor:
    """A copy of everything that clients send, as one vector."""
    return torch.cat([each.detach().reshape(-1) for each in _exchanged(model)])


def set_weights(model: nn.Module, weights: Tensor) -> None:
    """Writes a vector from `weights_of` into the model."""
    pieces = torch.split(weights, [each.numel() for each in _exchanged(model)])
    with torch.no_grad():
        for target, piece in zip(_exchanged(model), pieces, strict=True):
            target.copy_(piece.view_as(target))


def _exchanged(model: nn.Module) -> list[Tensor]:
    buffers = [each for each in model.buffers() if each.is_floating_point()]
    return [*model.parameters(), *buffers]
