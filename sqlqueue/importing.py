"""`import`: rows that were computed by other means become results of the tasks that they are of.

Promises: a row is adopted only where it fits one task and nothing else says otherwise; a task that
has a result keeps it; the files are read twice or more, first to learn and only then to do, so
nothing is done before all rows are known; what is done goes in bounded bites, and the same command
again does what is left.  Every row is told: adopted, there already, or why not.
What is not here: which task a row is of (`plan/fitting.py`), how it is told (`report_import.py`).
"""

from __future__ import annotations

import csv
import os
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlqueue.adopted import Adopted
from sqlqueue.contact import Ask, expect, owner
from sqlqueue.errors import Interrupted, UsageError
from sqlqueue.figures import plural
from sqlqueue.given_csv import GivenCsv, refuse_twice
from sqlqueue.home import Home
from sqlqueue.interrupts import deferred
from sqlqueue.old_rows import Row, catalogue_of, read_of, rows_of, sheets_of
from sqlqueue.plan import layout as columns
from sqlqueue.plan.fitting import Kind
from sqlqueue.plan.repeats import Place, Repeats
from sqlqueue.protocol import MAX_MESSAGE_BYTES, ImportedReply, ImportedRow, ImportRows, fits
from sqlqueue.shell import notice
from sqlqueue.steering import agreed

BITE_ROWS: Final = 500
WINDOW_ROWS: Final = 5000
"""Rows held back at most until the manager was asked about some of them."""
REASONS: Final = {
    "other_result": Kind.CONTRADICTORY,
    "directory_unavailable": Kind.UNAVAILABLE,
}

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]
Show = Callable[[Adopted], None]
Report = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True)
class Wish:
    """What a person asked for.  `among`: words that select the tasks which may be meant."""

    files: Sequence[Path]
    columns: columns.Wish
    among: Sequence[str] = ()
    tolerance: float = 0.0
    dry_run: bool = False
    yes: bool = False
    report: Path | None = None
    every_row: bool = False


def import_rows(home: Home, wish: Wish, progress: Progress, show: Show) -> Adopted | None:
    """Adopts the rows of the files; None when a person was asked and said no.

    `show` is told of what would be done before that.
    """
    home.queue_id()
    _refuse_report(wish.report)
    refuse_twice(wish.files)
    for path in wish.files:
        _refuse_own(home, path)
    with ExitStack() as stack:
        given = [_open(stack, path) for path in wish.files]
        ask = stack.enter_context(owner(home, notice))
        importing = Importing(home, wish, ask, given, progress)
        if not wish.dry_run and not wish.yes:
            planned = importing.tell(dry_run=True)
            if count := planned.counts[Kind.ADOPTED]:
                show(planned)
                if not agreed(f"adopt {plural(count, 'row')}"):
                    return None
        with _reporting(wish.report) as report:
            return importing.tell(dry_run=wish.dry_run, report=report)


def _open(stack: ExitStack, path: Path) -> GivenCsv:
    given = GivenCsv(path)
    stack.callback(given.close)
    return given


def _refuse_own(home: Home, path: Path) -> None:
    """Raises `UsageError` for a CSV that this queue writes itself."""
    from sqlqueue.store.csv_file import NAME
    from sqlqueue.store.directories import marker_of

    real = Path(os.path.realpath(path))
    if real.name == NAME and real.is_file() and marker_of(real.parent) == home.queue_id():
        raise UsageError(
            f"{path}: is written by this queue itself, from its database. If the database has lost "
            f"those rows, `sqlqueue recover` takes them in; if the file is not {NAME} of this "
            "queue, give it another name first"
        )


def _refuse_report(path: Path | None) -> None:
    """Raises `UsageError` for a file that is there: nothing is overwritten."""
    if path is not None and os.path.lexists(path):
        raise UsageError(f"--report: {path} is there already; name another file")


@contextmanager
def _reporting(path: Path | None) -> Iterator[Report | None]:
    """Yields what writes one line of the report."""
    if path is None:
        yield None
        return
    with path.open("x", newline="", encoding="utf-8", errors="backslashreplace") as file:
        write = csv.writer(file, lineterminator="\n").writerow
        write(("file", "line", "kind", "task_id", "why"))
        yield write


class Importing:
    """One run of the command: knows all tasks and all files."""

    def __init__(
        self, home: Home, wish: Wish, ask: Ask, given: Sequence[GivenCsv], progress: Progress
    ) -> None:
        self._wish = wish
        self._ask = ask
        self._progress = progress
        self._host = socket.gethostname()
        self._catalogue = catalogue_of(ask, wish.among)
        self._sheets = sheets_of(home, given, self._catalogue, wish.columns, wish.tolerance)
        self._repeats: Repeats | None = None

    def tell(self, *, dry_run: bool, report: Report | None = None) -> Adopted:
        """Tells of every row what becomes of it, and unless it is a dry run does it."""
        found = Adopted(dry_run=dry_run, rows=[] if self._wish.every_row else None)
        repeats = self._learned()
        for each in self._sheets:
            each.given.refuse_changed()
            found.sheets.append(read_of(each, self._catalogue))
        try:
            with deferred() as check:
                what = "Looking, KiB" if dry_run else "Adopting, KiB"
                with closing(self._windows(repeats, what, dry_run)) as windows:
                    for window in windows:
                        check()
                        for each in self._sheets:
                            each.given.refuse_changed()
                        self._ask_about(window, found, dry_run)
                        for row in window:
                            self._note(row, found, report)
        except KeyboardInterrupt:
            raise Interrupted(_so_far(found)) from None
        return found

    def _learned(self) -> Repeats:
        """All rows are known, from the first time on."""
        if self._repeats is None:
            repeats = Repeats(len(self._catalogue))
            for row in self._rows("Reading, KiB"):
                if row.fit.task is not None and not self._catalogue.completed[row.fit.task]:
                    repeats.learn(row.fit.task, row.place, row.metrics)
            self._repeats = repeats
        return self._repeats

    # --- rows -------------------------------------------------------------------------------

    def _rows(self, what: str) -> Iterator[Row]:
        """Every row of every file, and the task that it is of."""
        size = sum(each.given.size_bytes for each in self._sheets)
        with self._progress(size >> 10, what) as advance:
            yield from rows_of(self._sheets, advance)

    def _windows(
        self, repeats: Repeats, what: str, dry_run: bool
    ) -> Generator[list[Row], None, None]:
        """The rows judged, some at a time: few enough of those that the manager is asked about."""
        window: list[Row] = []
        asked = 0
        for row in self._rows(what):
            self._judge(row, repeats, dry_run)
            window.append(row)
            asked += row.asked
            if asked >= BITE_ROWS or len(window) >= WINDOW_ROWS:
                yield window
                window, asked = [], 0
        yield window

    def _judge(self, row: Row, repeats: Repeats, dry_run: bool) -> None:
        """By what is known here; the manager knows results."""
        task = row.fit.task
        if task is None:
            row.kind, row.why = row.fit.kind, row.fit.why
        elif self._catalogue.completed[task]:
            row.asked = True
        else:
            row.kind, other = repeats.judge(task, row.place)
            row.asked = row.kind is Kind.ADOPTED and not dry_run
            if row.kind is Kind.DUPLICATE:
                row.why = f"says the same as {self._shown(other)}"
            elif row.kind is Kind.CONTRADICTORY:
                row.why = f"{self._shown(other)} has another result for the same task"

    def _ask_about(self, window: Sequence[Row], found: Adopted, dry_run: bool) -> None:
        asked = [each for each in window if each.asked]
        rows = [self._imported(each) for each in asked]
        for number, kind, why in self._answers(rows, found, dry_run):
            asked[number].kind, asked[number].why = kind, why

    def _imported(self, row: Row) -> ImportedRow:
        assert row.fit.task is not None
        return ImportedRow(
            signature=self._catalogue.signatures[row.fit.task].hex(),
            result_data=dict(row.metrics),
            source=f"{self._sheets[row.place.file].source}:{row.place.line}",
        )

    def _answers(
        self, rows: list[ImportedRow], found: Adopted, dry_run: bool, first: int = 0
    ) -> Iterator[tuple[int, Kind, str]]:
        """What the manager makes of each row, by the number of the row."""
        if not rows:
            return
        message = ImportRows(rows=rows, host=self._host, dry_run=dry_run)
        if not fits(message):
            yield from self._in_halves(rows, found, dry_run, first)
            return
        reply = expect(self._ask(message), ImportedReply)
        found.delivered += reply.delivered
        yield from ((first + each, Kind.ADOPTED, "") for each in reply.adopted)
        yield from ((first + each, Kind.THERE, "") for each in reply.known)
        for each in reply.refused:
            yield first + each.row, REASONS[each.reason], each.message

    def _in_halves(
        self, rows: list[ImportedRow], found: Adopted, dry_run: bool, first: int
    ) -> Iterator[tuple[int, Kind, str]]:
        """What is too much for one message."""
        if len(rows) == 1:
            most = f"{MAX_MESSAGE_BYTES >> 20} MiB"
            yield first, Kind.MALFORMED, f"takes more than the {most} of a message"
            return
        half = len(rows) // 2
        yield from self._answers(rows[:half], found, dry_run, first)
        yield from self._answers(rows[half:], found, dry_run, first + half)

    # --- telling ----------------------------------------------------------------------------

    def _note(self, row: Row, found: Adopted, report: Report | None) -> None:
        sheet, task = self._sheets[row.place.file], row.fit.task
        task_id = row.fit.about if task is None else self._catalogue.task_ids[task]
        phase = "" if task is None else self._catalogue.phase_of(task)
        found.note(sheet.given.name, row.place, row.kind, task_id, row.why, phase)
        if report is not None:
            report((sheet.given.name, row.place.line, row.kind.value, task_id, row.why))

    def _shown(self, place: Place) -> str:
        return f"{self._sheets[place.file].given.name}:{place.line}"


def _so_far(found: Adopted) -> str:
    if found.dry_run:
        return "interrupted; nothing was changed"
    return (
        f"interrupted: {plural(found.counts[Kind.ADOPTED], 'row')} adopted; run the same command "
        "again for the rest"
    )
