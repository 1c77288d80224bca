"""A progress bar for what takes long, where a person watches.

Promises: nothing is shown, and rich is not imported, for short work or without a terminal.
What is not here: the live display of `run` (`live.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sqlqueue.tables import redrawable

LONG: Final = 3000
"""Cells from which on adding them takes long enough to be shown; so do as many KiB."""


@contextmanager
def shown(total: int, what: str = "Adding cells") -> Iterator[Callable[[int], None]]:
    """Yields `advance(how many more)`."""
    if total < LONG or not redrawable(sys.stderr):
        yield lambda _more: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=total)
        yield lambda more: progress.advance(bar, more)
