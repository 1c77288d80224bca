"""Files of rows that were computed by other means, beside the tasks that they may be of.

What is not here: what becomes of the rows (`importing.py`), which task one is of
(`plan/fitting.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlqueue.adopted import Read
from sqlqueue.contact import Ask, expect
from sqlqueue.errors import UsageError
from sqlqueue.given_csv import GivenCsv, Line
from sqlqueue.home import Home
from sqlqueue.plan import layout as columns
from sqlqueue.plan.catalogue import Catalogue
from sqlqueue.plan.fitting import Fit, Fitting, Kind
from sqlqueue.plan.layout import Layout
from sqlqueue.plan.repeats import Place
from sqlqueue.plan.rows import Scalar
from sqlqueue.protocol import DescribedReply, DescribeTasks


@dataclass(frozen=True)
class Sheet:
    """One file, what its columns are, and what finds the tasks of its rows."""

    given: GivenCsv
    layout: Layout
    fitting: Fitting
    source: str
    """Its name as attempts keep it."""


@dataclass(slots=True)
class Row:
    """One row of a file while it waits for its turn."""

    place: Place
    fit: Fit
    metrics: dict[str, Scalar]
    asked: bool = False
    why: str = ""
    kind: Kind = Kind.ADOPTED


def rows_of(sheets: Sequence[Sheet], advance: Callable[[int], None]) -> Iterator[Row]:
    """Every row of every file.  `advance` is told of KiB as they are read."""
    done = 0

    def further(more: int) -> None:
        nonlocal done
        advance((done + more >> 10) - (done >> 10))
        done += more

    for number, sheet in enumerate(sheets):
        for line in sheet.given.rows(further):
            yield row_of(sheet, number, line)


def row_of(sheet: Sheet, number: int, line: Line) -> Row:
    """The row in that line of the file of that number."""
    place = Place(number, line.number)
    if line.trouble:
        return Row(place, Fit(None, Kind.MALFORMED, line.trouble), {})
    fit = sheet.fitting.fit(line.cells)
    if fit.task is None:
        return Row(place, fit, {})
    metrics = sheet.fitting.metrics(line.cells, fit.task)
    if not metrics:
        fit = Fit(None, Kind.EMPTY, "holds no result: every metric is empty")
    return Row(place, fit, metrics)


def catalogue_of(ask: Ask, among: Sequence[str]) -> Catalogue:
    """All tasks that may be meant; raises `UsageError` when there is none."""
    found = Catalogue()
    after: int | None = 0
    while after is not None:
        question = DescribeTasks(select=list(among), all=not among, after=after)
        reply = expect(ask(question), DescribedReply)
        for each in reply.tasks:
            found.add(
                each.signature, each.task_id, each.phase, each.experiment, each.parameters,
                each.runtime_only, each.completed,
            )  # fmt: skip
        after = reply.next
    if not len(found):
        raise UsageError(
            f"--among {' '.join(among)}: no task is like that"
            if among
            else "there is no task yet; `sqlqueue init FILES...` adds those of sweep files, whose "
            "results rows may then be"
        )
    return found


def sheets_of(
    home: Home,
    given: Sequence[GivenCsv],
    catalogue: Catalogue,
    wish: columns.Wish,
    tolerance: float,
) -> list[Sheet]:
    """What the columns of each file are; files with the same columns share what finds tasks."""
    names, hidden = catalogue.names, catalogue.hidden
    for each in given:
        each.settle(lambda header: columns.recognised(header, names, wish))
    columns.refuse_unused(wish, [each.header for each in given])
    fittings: dict[tuple[tuple[str, ...], bool], Fitting] = {}
    found = []
    for each in given:
        try:
            made = columns.layout(each.header, names, hidden, wish)
        except UsageError as error:
            raise UsageError(f"{each.name}: {error.message}") from None
        key = (tuple(each.header), each.decimal_comma)
        if key not in fittings:
            comma = each.decimal_comma
            fittings[key] = Fitting(catalogue, made, comma=comma, tolerance=tolerance)
        source = home.relative(Path(os.path.realpath(each.name)))
        found.append(Sheet(each, made, fittings[key], source))
    return found


def read_of(sheet: Sheet, catalogue: Catalogue) -> Read:
    """What is told of a file."""
    given = catalogue.left_out(sheet.layout.parameters.values())
    return Read(sheet.given.name, sheet.given.separator, sheet.layout, given)
