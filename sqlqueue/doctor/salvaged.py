"""What lies in the home's `salvage/`, bytes that were cut off CSVs, and whose they are.

They were a person's, or rows of the queue that a manager had not committed when it died.  Its
tasks ran again then, or were delivered again: who reads the signatures can tell.  What is not
here: the cutting (`store/recovery.py`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlqueue.doctor.finding import NOTE, Finding, kind
from sqlqueue.figures import plural
from sqlqueue.home import Home

Cell = tuple[str, str]
"""The task's id and signature, as they stand in a row."""

MOST_BYTES: Final = 16 << 20
"""Of a file that is read; what is longer is not looked into."""
LEAST_FIELDS: Final = 3
"""`phase`, `task_id`, `signature`: every row begins with them."""

SALVAGED = kind(
    "home-salvage", NOTE, "bytes that were cut from CSVs wait for a look",
    "they are a person's, or of rows that were not committed when a manager died: somebody may "
    "miss them", cure="look at the files in {about}, then remove or keep them elsewhere",
)  # fmt: skip
OWN = kind(
    "home-salvage-rows", NOTE, "rows that were cut from CSVs, of tasks that have a row",
    "a manager that died had not committed them, and the tasks ran or were delivered again since; "
    "nobody misses them, unless a person wrote rows for these tasks by hand",
    cure="nothing must be done; these may be removed: {files}",
)  # fmt: skip


def check(home: Home, readable: bool) -> Iterator[Finding]:
    """What is there; `readable`: the database tells which tasks have a row."""
    if not home.salvage.is_dir():
        return
    files = sorted(home.salvage.iterdir())
    own = _own(home, files) if readable and files else []
    if rest := [each for each in files if each not in own]:
        yield SALVAGED.at(home.salvage, plural(len(rest), "file"))
    if own:
        names = ", ".join(each.name for each in own)
        yield OWN.at(home.salvage, plural(len(own), "file"), files=names)


def _own(home: Home, files: list[Path]) -> list[Path]:
    """Those that are nothing but rows of tasks that have one."""
    from sqlqueue.store import health

    cells = {each: _cells(each) for each in files}
    found = health.with_rows(home, {each for some in cells.values() for _, each in some})
    return [each for each, some in cells.items() if some and some <= found]


def _cells(path: Path) -> set[Cell]:
    """Whose rows the file holds; nothing where it is not rows, every one whole, and no more."""
    try:
        if path.is_symlink() or path.stat().st_size > MOST_BYTES:
            return set()
        text = path.read_text("utf-8")
        rows = list(csv.reader(text.splitlines(), strict=True))
    except (OSError, ValueError, csv.Error):
        return set()
    if not text.endswith("\n") or any(len(each) < LEAST_FIELDS for each in rows):
        return set()
    return {(task_id, signature) for _, task_id, signature, *_ in rows}
