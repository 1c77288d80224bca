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

from sqlqueue import report, report_breaker, report_held
from sqlqueue.figures import cut_end, duration, plural, share, thousands
from sqlqueue.report import Figures
from sqlqueue.report_workers import metrics as metrics_of
from sqlqueue.report_workers import step as step_of
from sqlqueue.tables import redrawable
from sqlqueue.visible import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

QUIET_SECONDS: Final = 2.0
"""A pipe gets at most one line in this time."""
SILENT_SECONDS: Final = 60.0
"""A pipe gets a line after this time even when nothing changed."""
HINT: Final = "Ctrl-C stops; nothing is lost"
WIDEST: Final = 110
ROOMY: Final = 70
MOST_TASKS: Final = 12
MOST_PHASES: Final = 20
LEAST_PHASES: Final = 4
OTHER_LINES: Final = 6
"""Empty lines between the parts, and the two at the foot."""
STATE_COLUMNS: Final = 20
"""Kept free for what a phase is doing, so that the bars do not change their length."""


class Display(Protocol):
    """Whoever watches."""

    def show(self, status: Figures) -> None:
        """The figures are new."""

    def say(self, line: str) -> None:
        """Something that a person should read."""


@contextmanager
def display() -> Iterator[Display]:
    """The one that suits standard output."""
    if not redrawable(sys.stdout):
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
    broken = [each.phase for each in report_breaker.trips(status)]
    held = f"; paused by the breaker: {', '.join(map(printable, broken[:3]))}" if broken else ""
    return report.headline(status) + (f"; {rest}" if rest else "") + held


class Picture:
    """A picture that is redrawn in place."""

    def __init__(self, live: Live, console: Console) -> None:
        self._live = live
        self._console = console
        self._began = time.monotonic()
        self._columns = console.width
        self._widths: list[int] = []

    def show(self, status: Figures) -> None:
        columns, rows = self._console.size
        self._narrowed(columns)
        elapsed = time.monotonic() - self._began
        picture = drawn(status, elapsed, columns, rows)
        lines = self._console.render_lines(picture, pad=False)
        self._widths = [sum(each.cell_length for each in line) for line in lines]
        self._live.update(picture, refresh=True)

    def _narrowed(self, columns: int) -> None:
        """A terminal that became narrower broke the lines: clears what rich does not know of."""
        from rich.control import Control
        from rich.segment import ControlType

        if columns < self._columns:
            more = sum((each - 1) // columns for each in self._widths if each)
            steps = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)) * more
            self._console.control(Control(*steps))
        self._columns = columns

    def say(self, line: str) -> None:
        self._console.print(printable(line), markup=False, style="yellow")


def drawn(status: Figures, elapsed_seconds: float, columns: int, rows: int = 60) -> RenderableType:
    """Bars per phase, running tasks, failures, and the whole in one line."""
    from rich.console import Group
    from rich.text import Text

    tasks, failed = _running(status["workers"]), _failed(status, columns)
    room = rows - OTHER_LINES - min(len(tasks), MOST_TASKS + 1) - len(failed)
    parts: list[RenderableType] = [Text(), *_phases(status["phases"], columns, room)]
    if tasks:
        parts += [Text(), _tasks(tasks)]
    parts += [Text(line, style="red", no_wrap=True) for line in failed]
    foot = f"{report.headline(status)}; running for {duration(elapsed_seconds)}"
    parts += [
        Text(),
        Text(foot, style="bold", no_wrap=True, overflow="ellipsis"),
        Text(HINT, style="dim"),
    ]
    return Group(*parts)


def _phases(phases: list[dict[str, Any]], columns: int, room: int) -> list[RenderableType]:
    """The bars that there is room for, and how many more there are."""
    from rich.text import Text

    chosen = _chosen(phases, max(LEAST_PHASES, min(MOST_PHASES, room)))
    bars = _bars(chosen, min(columns, WIDEST))
    if rest := len(phases) - len(chosen):
        return [bars, Text(f"and {plural(rest, 'more phase')}", style="dim")]
    return [bars]


def _bars(phases: list[dict[str, Any]], columns: int) -> RenderableType:
    """One bar per phase."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.width = columns
    grid.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
    grid.add_column(ratio=4, min_width=10)
    for _ in ("counts", "share"):
        grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True, min_width=STATE_COLUMNS if columns >= ROOMY else None)
    for each in phases:
        done, total = each["completed"], each["total"]
        bar = ProgressBar(
            total=max(total, 1), completed=done, complete_style="cyan", finished_style="green"
        )
        counts = f"{thousands(done)}/{thousands(total)}"
        name = Text(printable(each["phase"]))
        grid.add_row(name, bar, counts, share(done, total), _state(each))
    return grid


def _chosen(phases: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """All, or of too many those where something happens, then those that are not complete."""
    if len(phases) <= most:
        return phases
    return sorted(phases, key=_calm)[: most - 1]


def _calm(phase: Figures) -> tuple[bool, bool]:
    return not phase["running"], phase["completed"] == phase["total"]


def _state(phase: Figures) -> RenderableType:
    from rich.text import Text

    parts = []
    if phase["running"]:
        parts.append(Text(f"{phase['running']} running", "cyan"))
    if phase["failed"]:
        parts.append(Text(f"{phase['failed']} failed", "red"))
    if held := report_held.why_held(phase):
        parts.append(Text(held, "yellow"))
    elif left := report.left(phase):
        parts.append(Text(f"{left} left"))
    return Text(", ").join(parts)


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
        duration(task["seconds"] or 0) + _still(task),
        f"step {step}" if step else "",
        metrics_of(task),
    ]


def _still(task: Figures) -> str:
    """How long it is likely to take still, where that is known."""
    left = task.get("left_seconds")
    return "" if left is None else f", {duration(left)} left"


def _failed(status: Figures, columns: int) -> list[str]:
    """What failed, and what the breaker has paused."""
    from sqlqueue.tables import Page

    lines = report.failures(status["failures"][:3], Page(columns))[1:]
    lines += report_breaker.lines(status, Page(columns), cures=False)
    return [cut_end(line, columns) for line in ["", *lines]] if lines else []
