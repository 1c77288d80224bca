"""What `import` found and did, as text and as JSON.

Pure: what was found goes in, lines come out.  What is not here: importing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlqueue.adopted import Adopted, Read, Reason
from sqlqueue.figures import cut_end, plural, thousands
from sqlqueue.given_csv import SEPARATORS
from sqlqueue.plan.catalogue import shown
from sqlqueue.plan.fitting import FINE, Kind
from sqlqueue.report import document
from sqlqueue.report_steering import by_phase
from sqlqueue.tables import Page
from sqlqueue.visible import printable

LONGEST: Final = 400
MOST_REASONS: Final = 3
MOST_NAMES: Final = 12
TOLD: Final = {
    Kind.THERE: "there already: the task has this result",
    Kind.DUPLICATE: "said twice: the first counts",
    Kind.UNMATCHED: "unmatched: no task is like that",
    Kind.AMBIGUOUS: "ambiguous: several tasks are like that",
    Kind.CONTRADICTORY: "contradictory: nothing is overwritten",
    Kind.EMPTY: "without a result",
    Kind.MALFORMED: "malformed",
    Kind.UNAVAILABLE: "not written just now: run the same command again",
}
"""In the order in which they are shown."""


def import_lines(found: Adopted, page: Page) -> list[str]:
    """How the files were read, what was adopted, and what was not and why."""
    lines = [line for each in found.sheets for line in _read(each)]
    lines.append(_adopted(found))
    for kind, what in TOLD.items():
        if count := found.counts[kind]:
            head = f"{plural(count, 'row')} {what}"
            lines.append(head if kind in FINE else page.paint(head, "yellow"))
            lines += _reasons(found.reasons[kind], kind)
    return lines + (["Dry run: nothing was changed"] if found.dry_run else [])


def _read(sheet: Read) -> Iterator[str]:
    """One file, and what its columns were taken for."""
    layout, as_ = sheet.layout, sheet.layout.otherwise()
    yield f"{printable(sheet.name)}, separated by {SEPARATORS[sheet.separator]}"
    parameters = [layout.columns[each] for each in layout.parameters]
    named = [f"{each} (as {as_[each]})" if each in as_ else each for each in parameters]
    signed = ["signature"] if layout.signature is not None else []
    for what, names in (
        ("tasks are told by", [*signed, *named]),
        ("results", list(layout.metrics.values())),
        ("ignored", [f"{name} ({why})" for name, why in layout.ignored.items()]),
        ("not in the file, so as the tasks have them", list(_left_out(sheet))),
    ):
        if names:
            yield cut_end(f"  {what}: {printable(_listed(names))}", LONGEST)


def _left_out(sheet: Read) -> Iterator[str]:
    """First what differs among tasks."""
    for name, values in sorted(sheet.left_out.items(), key=lambda each: -len(each[1])):
        several = f"{len(values)} values" if len(values) > 1 else shown(values[0])
        yield f"{name} = {several}"


def _listed(names: list[str]) -> str:
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _adopted(found: Adopted) -> str:
    count = found.counts[Kind.ADOPTED]
    verb = "Would be adopted" if found.dry_run else "Adopted"
    of = f" of {thousands(found.total)}" if found.total != count else ""
    phases = f" (phases: {by_phase(found.phases)})" if count else ""
    delivered = f"; {plural(found.delivered, 'row')} delivered" if found.delivered else ""
    return f"{verb}: {plural(count, 'row')}{of}{phases}{delivered}"


def _reasons(reasons: dict[str, Reason], kind: Kind) -> Iterator[str]:
    """The most frequent ones, each with its first row."""
    if kind is Kind.THERE:
        return
    ranked = sorted(reasons.items(), key=lambda each: -each[1].count)
    for why, reason in ranked[:MOST_REASONS]:
        often = f"{thousands(reason.count)} × " if reason.count > 1 else ""
        about = f" ({reason.task_id})" if reason.task_id and reason.task_id not in why else ""
        first = "first " if reason.count > 1 else ""
        yield cut_end(printable(f"  {often}{why}{about} [{first}{reason.example}]"), LONGEST)
    if (rest := len(ranked) - MOST_REASONS) > 0:
        yield f"  and {plural(rest, 'more reason')}; --report FILE has every row"


def import_json(found: Adopted) -> str:
    """The same for programs, as docs/IMPORT.md describes it."""
    told: dict[str, Any] = {
        "dry_run": found.dry_run,
        "files": [_file(each) for each in found.sheets],
        "counts": {kind.value: found.counts[kind] for kind in Kind},
        "phases": dict(found.phases),
        "delivered": found.delivered,
        "rows": found.rows or [],
    }
    return document(told)


def _file(sheet: Read) -> dict[str, Any]:
    layout = sheet.layout
    parameters = {layout.columns[index]: name for index, name in layout.parameters.items()}
    return {
        "file": sheet.name,
        "separator": sheet.separator,
        "parameters": parameters,
        "metrics": list(layout.metrics.values()),
        "ignored": layout.ignored,
        "left_out": sheet.left_out,
    }
