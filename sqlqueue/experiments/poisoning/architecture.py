"""How wide and deep the two model types are, as numbers; `models.py` builds them.

`lr`: `depth` hidden layers of `16 * width_factor` units.
`cnn`: `depth` convolutions of 3x3.  The first has `8 * width_factor` channels; after each of
the first two the image is halved by max pooling and the channels double.
Pure, so that a plan can estimate what a cell costs without loading a model.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Final

HIDDEN_PER_WIDTH: Final = 16
CHANNELS_PER_WIDTH: Final = 8
POOLINGS: Final = 2


def hidden_widths(width_factor: int, depth: int) -> list[int]:
    """Units of each hidden layer of `lr`."""
    return [HIDDEN_PER_WIDTH * width_factor] * depth


def channel_counts(width_factor: int, depth: int) -> list[int]:
    """Channels out of each convolution of `cnn`."""
    first = CHANNELS_PER_WIDTH * width_factor
    return [first * 2 ** min(layer, POOLINGS) for layer in range(depth)]


@lru_cache(maxsize=1024)  # an estimate for every cell of a sweep, of which few differ in this
def multiplications(
    model_type: str, side: int, channels: int, classes: int, width_factor: int, depth: int
) -> int:
    """Multiplications of one forward pass over one image."""
    if model_type == "lr":
        return _dense([side * side * channels, *hidden_widths(width_factor, depth), classes])
    counts = [channels, *channel_counts(width_factor, depth)]
    return _convolutions(side, counts) + counts[-1] * classes


def _dense(widths: list[int]) -> int:
    return sum(before * after for before, after in itertools.pairwise(widths))


def _convolutions(side: int, counts: list[int]) -> int:
    total = 0
    for layer, (before, after) in enumerate(itertools.pairwise(counts)):
        total += 9 * before * after * (side >> min(layer, POOLINGS)) ** 2
    return total
