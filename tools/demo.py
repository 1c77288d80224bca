"""`make demo`: runs the quickstart sweep in `demo/` and shows what came out.

Promises: every command is shown before it runs, and is one that a user would type in that
folder; the first that fails ends the demo with its exit code.  A demo that was interrupted
is gone on with; one that was complete is removed first.  The folder stays for a look.
What is not here: anything that sqlqueue does itself.
"""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "demo"
COMPLETE = FOLDER / "complete"
"""Empty; there once the demo has reached its end."""

MEASURED = "mean_test_acc"
"""The first metric of the built-in experiment: what stands before it are parameters."""


def main() -> int:
    prepare()
    sweeps = sorted((REPOSITORY / "configs" / "quickstart").glob("*.yaml"))
    queue("run", *(os.path.relpath(each, FOLDER) for each in sweeps))
    for found in sorted(FOLDER.rglob("final_results.csv")):
        show(found)
    queue("status")
    queue("verify")
    COMPLETE.touch()
    say(f"\nAll of it is in {FOLDER.name}/: look around, or run make demo again.")
    return 0


def prepare() -> None:
    """An empty folder, or that of a demo that was interrupted."""
    if COMPLETE.exists():
        shutil.rmtree(FOLDER)
    if FOLDER.exists():
        say("A demo was interrupted here; going on with it.")
    FOLDER.mkdir(exist_ok=True)


def queue(*arguments: str) -> None:
    """Runs a sqlqueue command in the folder; ends the demo when it fails."""
    say(f"\n$ sqlqueue {shlex.join(arguments)}")
    environment = {key: value for key, value in os.environ.items() if key != "SQLQUEUE_HOME"}
    command = [str(Path(sys.executable).with_name("sqlqueue")), *arguments]
    status = subprocess.run(command, cwd=FOLDER, env=environment, check=False).returncode
    if status:
        say(f"\n`sqlqueue {arguments[0]}` ended with {status}; {FOLDER} is left as it is.")
        sys.exit(status)


def show(found: Path) -> None:
    """Prints one CSV in short: the parameters that differ in it, and the accuracy."""
    with found.open(newline="", encoding="utf-8") as lines:
        header, *rows = csv.reader(lines)
    say(f"\n{found.relative_to(FOLDER)}: {len(rows)} rows of {len(header)} columns, in short")
    parameters = range(header.index("signature") + 1, header.index(MEASURED))
    differing = [index for index in parameters if len({row[index] for row in rows}) > 1]
    shown = [header.index("task_id"), *differing, header.index(MEASURED)]
    for row in table([[short(row[index]) for index in shown] for row in (header, *rows)]):
        say(f"  {row}")


def short(text: str) -> str:
    """A long fraction to four places; anything else as it is."""
    try:
        return text if len(text) <= 6 else f"{float(text):.4f}"
    except ValueError:
        return text


def table(rows: Iterable[list[str]]) -> Iterator[str]:
    """The rows as lines, each column as wide as its widest cell."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
