"""What a child asks of the kernel: to die with its guard, and first when memory runs out.

What is not here: what it runs (`child.py`), its guard (`guard.py`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from typing import Final

PR_SET_PDEATHSIG: Final = 1
OOM_SCORE: Final = 100
"""In thousandths of all memory: far above what a worker or a manager ever takes."""
GONE: Final = 70
"""Exit status of a child whose supervisor, or whose pipe to it, is gone."""


def die_with(parent: int) -> None:
    """Ends this process when its guard ends, or at once if it has ended already.

    The guard ends this process, and whatever the experiment starts, when the supervisor
    ends; this holds even if the experiment kills the guard.
    """
    with contextlib.suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(GONE)


def go_first() -> None:
    """When memory runs out, the kernel is to choose this process and its children.

    Worker and manager hold what others need; a run can be repeated.
    """
    with (
        contextlib.suppress(OSError, ValueError),
        open("/proc/self/oom_score_adj", "r+") as score,
    ):
        higher = min(1000, int(score.read()) + OOM_SCORE)
        score.seek(0)
        score.write(str(higher))
