"""A directory that is not used for now: why, and when it is tried again.

Promises: pure; the pause doubles with each try, up to a bound.  What is not here: trying.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LONGEST_PAUSE_SECONDS: Final = 30.0
TOO_FAST: Final = (
    "the file changes faster than it can be mended: does another program write it, or does "
    "another output directory lead to the same folder?"
)


@dataclass(frozen=True, slots=True)
class Suspension:
    """Why a directory is not used for now, and when it is tried again (monotonic clock)."""

    reason: str
    retry_at: float
    pause_seconds: float


def suspension(error: BaseException, before: Suspension | None, now: float) -> Suspension:
    """That after this error; `before`: the one until now, if it was suspended already."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    pause = min(LONGEST_PAUSE_SECONDS, before.pause_seconds * 2 if before else 1.0)
    return Suspension(reason, now + pause, pause)
