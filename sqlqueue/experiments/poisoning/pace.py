"""How many clients of a round are trained as one stack: what was measured to be quicker.

A stack saves the fixed price of each kernel, which is most of what small models cost; large
ones gain nothing and lose, since a stack's intermediate values leave the processor's cache and
grouped convolutions are less well made than plain ones.  Measured, and how: decision 13.

Promises: it depends on the cell's parameters, the dataset and the kind of device alone, so that the
same cell is computed in the same way wherever and however often it runs.  It is no parameter,
and no part of a signature.  Pure.
"""

from __future__ import annotations

from typing import Final

from sqlqueue.experiments.poisoning.architecture import multiplications
from sqlqueue.experiments.poisoning.settings import Settings

MOST_PER_STEP: Final = 12_000_000
"""Multiplications of one client's forward pass over a batch."""
MOST_PARAMETERS: Final = 1 << 17
MOST_IN_A_STACK: Final = 1 << 27
"""Multiplications of a whole stack's forward pass: wider stacks gain no more."""
MOST_AT_ONCE: Final = 50
MEASURED: Final = ("cpu",)
"""On other devices clients train one after the other until somebody has measured."""


def clients_at_once(
    settings: Settings, side: int, channels: int, classes: int, parameters: int, device: str
) -> int:
    """1: one after the other.  `parameters`: trainable numbers; `device`: its kind, as `cpu`."""
    per_image = multiplications(
        settings.model_type, side, channels, classes, settings.width_factor, settings.depth
    )
    step = settings.batch_size * per_image
    if device not in MEASURED or step > MOST_PER_STEP or parameters > MOST_PARAMETERS:
        return 1
    return max(1, min(MOST_AT_ONCE, MOST_IN_A_STACK // step))
