"""The experiments that a worker cannot run where it is, and when to try each again.

A module that is not there, or not as new as the queue's: a person may mend that while the
worker runs, so it is tried again, ever less often.  What is not here: finding out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

FIRST_SECONDS: Final = 60.0
LONGEST_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class _Lack:
    why: str
    until: float
    seconds: float


class Unable:
    """Times on a monotonic clock; used by one worker name."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lacks: dict[str, _Lack] = {}

    def note(self, experiment: str, why: str, now: float) -> None:
        """It failed to be found, once more."""
        before = self._lacks.get(experiment)
        seconds = min(2 * before.seconds, LONGEST_SECONDS) if before else FIRST_SECONDS
        self._lacks[experiment] = _Lack(why, now + seconds, seconds)

    def now(self, now: float) -> list[str]:
        """Those not to be tried yet."""
        return [name for name, each in list(self._lacks.items()) if now < each.until]

    def told(self, experiments: list[str]) -> str:
        """Why the worker ends, and the cure."""
        lacking = "; ".join(f"{each}: {self._lacks[each].why}" for each in experiments)
        return (
            f"nothing is left that this worker can run: {lacking}.  Its tasks were given back, "
            f"uncharged.  Experiments are found from {self._root}: start this worker in the "
            "folder of the project, or bring the code there up to date (git pull)"
        )
