"""Random numbers: one independent stream per purpose, all from the cell's seed.

Because a stream belongs to its purpose (and round, and client), what one part of the
experiment draws never shifts what another one gets, and a run that is taken up again in
round 7 draws there what it would have drawn.  The process's own random state is never used.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The numbers are part of every result: add at the end, change none."""

    SPLIT = 0
    MIXTURES = 1
    TRAINING_SHARES = 2
    VALIDATION_SHARES = 3
    TEST_SHARES = 4
    MALICIOUS = 5
    POISON = 6
    WEIGHTS = 7
    PARTICIPANTS = 8
    ORDER = 9


def stream(seed: int, purpose: Purpose, *which: int) -> np.random.Generator:
    """The generator for a purpose; `which`: the round, the client."""
    return np.random.default_rng([seed, purpose, *which])


def torch_seed(seed: int, purpose: Purpose) -> int:
    """A seed for a generator of torch's own."""
    return int(stream(seed, purpose).integers(2**63))
