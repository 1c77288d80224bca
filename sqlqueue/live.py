"""What `run` shows while it works: a live picture in a terminal, plain lines elsewhere.

Promises: a terminal keeps what is said above the picture, and the picture is gone at the
end; a pipe gets one line per change, not too many.  What is not here: where the figures
come from, and the summary at the end (`report_run.py`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlqueue import report
from sqlqueue.figures import cut_end, duration, plural, printable, share, thousands
from sqlqueue.report import Figures
from sqlqueue.report_workers import metrics as metrics_of
from sqlqueue.report_workers import step as step_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

QUIET_SECONDS: Final = 2.0
"""A pipe gets at most one line in this time."""
SILENT_SECONDS: Final = 60.0
"""A pipe gets a line after this time even when nothing changed."""
HINT: Final = "Ctrl-C stops; nothing is lost"
WIDEST: Final = 110
MOST_TASKS: Final = 12
MOST_PHASES: Final = 20


class Display(Protocol):
    """Whoever watches."""

    def show(self, status: Figures) -> None:
        """The figures are new."""

    def say(self, line: str) -> None:
        """Something that a person should read."""


@contextmanager
def display() -> Iterator[Display]:
    """The one that suits standard output."""
    if not sys.stdout.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, transient=True) as picture:
        yield Picture(picture, console)


class Lines:
    """Plain lines."""

    def __init__(self) -> None:
        self._last = ""
        self._shown_at = -SILENT_SECONDS

    def show(self, status: Figures) -> None:
        """A line when the figures changed, and now and then when they did not."""
        line, silent = progress_line(status), time.monotonic() - self._shown_at
        if silent >= SILENT_SECONDS or (line != self._last and silent >= QUIET_SECONDS):
            self._last, self._shown_at = line, time.monotonic()
            print(line, flush=True)

    def say(self, line: str) -> None:
        print(printable(line), flush=True)


def progress_line(status: Figures) -> str:
    """How far it is, in one line."""
    rest = report.others(status["totals"])
    return report.headline(status) + (f"; {rest}" if rest else "")


class Picture:
    """A picture that is redrawn in place."""

    def __init__(self, live: Live, console: Console) -> None:
        self._live = live
        self._console = console
        self._began = time.monotonic()

    def show(self, status: Figures) -> None:
        elapsed = time.monotonic() - self._began
        self._live.update(drawn(status, elapsed, self._console.width), refresh=True)

    def say(self, line: str) -> None:
        self._console.print(printable(line), markup=False, style="yellow")


def drawn(status: Figures, elapsed_seconds: float, columns: int) -> RenderableType:
    """Bars per phase, running tasks, failures, and the whole in one line."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_bars(status["phases"], min(columns, WIDEST))]
    tasks = _running(status["workers"])
    if tasks:
        parts += [Text(), _tasks(tasks)]
    parts += [Text(line, style="red", no_wrap=True) for line in _failed(status, columns)]
    foot = f"{report.headline(status)}; running for {duration(elapsed_seconds)}"
    parts += [Text(), Text(foot, style="bold"), Text(HINT, style="dim")]
    return Group(*parts)


def _bars(phases: list[dict[str, Any]], columns: int) -> RenderableType:
    """One bar per phase; of many, those that are not complete come first."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.width = columns
    grid.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
    grid.add_column(ratio=4, min_width=10)
    for side in ("right", "right", "left"):
        grid.add_column(justify="right" if side == "right" else "left", no_wrap=True)
    for each in _chosen(phases):
        done, total = each["completed"], each["total"]
        bar = ProgressBar(total=max(total, 1), completed=done)
        counts = f"{thousands(done)}/{thousands(total)}"
        name = Text(printable(each["phase"]))
        grid.add_row(name, bar, counts, share(done, total), _state(each))
    return grid


def _chosen(phases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(phases) <= MOST_PHASES:
        return phases
    return sorted(phases, key=lambda each: each["completed"] == each["total"])[:MOST_PHASES]


def _state(phase: Figures) -> RenderableType:
    from rich.text import Text

    text = Text()
    if phase["running"]:
        text.append(f"{phase['running']} running ", "cyan")
    if phase["failed"]:
        text.append(f"{phase['failed']} failed ", "red")
    if left := report.left(phase):
        text.append(f"{left} left")
    return text


def _running(workers: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(each["worker_id"], task) for each in workers for task in each["tasks"]]


def _tasks(tasks: list[tuple[str, dict[str, Any]]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for _ in range(5):
        grid.add_column(no_wrap=True, overflow="ellipsis")
    for worker, task in tasks[:MOST_TASKS]:
        grid.add_row(*map(Text, _task(worker, task)))
    if len(tasks) > MOST_TASKS:
        grid.add_row("", f"and {plural(len(tasks) - MOST_TASKS, 'more task')}")
    return grid


def _task(worker: str, task: Figures) -> list[str]:
    step = step_of(task)
    return [
        printable(worker),
        printable(task["task_id"]),
        duration(task["seconds"] or 0),
        f"step {step}" if step else "",
        metrics_of(task),
    ]


def _failed(status: Figures, columns: int) -> list[str]:
    from sqlqueue.tables import Page

    lines = report.failures(status["failures"][:3], Page(columns))[1:]
    return [cut_end(line, columns) for line in ["", *lines]] if lines else []
