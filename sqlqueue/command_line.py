"""What every command of the command line begins with: the home that is meant, and the log.

Promises: imports nothing that takes long.  What is not here: the commands (`cli.py`,
`upkeep.py`), and their options (`options.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from sqlqueue.home import Home, find

DEBUG, INFO, WARNING = 10, 20, 30
"""As `logging` numbers them: importing it takes long."""
NOTHING: Final = 100


@dataclass(frozen=True)
class Shared:
    """What stood before the command."""

    home: Path | None = None
    verbose: bool = False


def queue_of(context: typer.Context, home: Path | None, verbose: bool, level: int) -> Home:
    """The home that is meant; logs from `level` on, everything with `--verbose`."""
    shared: Shared = context.obj
    level = DEBUG if verbose or shared.verbose else level
    if level < NOTHING:
        from sqlqueue.logs import to_stderr

        to_stderr(level)
    return find(home or shared.home)


def print_lines(lines: list[str]) -> None:
    print("\n".join(lines), flush=True)
