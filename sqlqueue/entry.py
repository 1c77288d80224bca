"""The console script: an interrupt is quiet from the first instant, while imports run too.

What is not here: anything but that, and streams that can be written to
(`standard_streams.py`).  The command line itself is `cli.py`.
"""

from __future__ import annotations

import gc
import signal
from typing import Final

ROOMY: Final = 50_000
"""So many new objects before the collector looks at them.  What imports make stays: looking at it
time and again is a tenth of what `status` takes without a manager."""


def main() -> None:
    """Hands over to the command line once it is imported."""
    gc.set_threshold(ROOMY)
    polite = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if polite:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from sqlqueue import standard_streams

    standard_streams.prepare()
    from sqlqueue.cli import main as command_line

    if polite:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command_line()
