"""What `run` leaves in the terminal when it is done.

What is not here: the picture while it works (`live.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from sqlqueue import report, report_some
from sqlqueue.figures import duration, plural, thousands
from sqlqueue.report import Figures
from sqlqueue.report_breaker import trips
from sqlqueue.tables import Page, page_of
from sqlqueue.visible import printable

CSV: Final = "final_results.csv"
NAMED: Final = 8


def print_summary(status: Figures, before: Figures, seconds: float | None) -> None:
    """Prints what was completed, what failed, where the rows are, and what to do next."""
    lines = summary_lines(status, seconds, page_of(sys.stdout), before)
    print("\n".join(["", *lines]), flush=True)


def summary_lines(
    status: Figures, seconds: float | None, page: Page, before: Figures | None = None
) -> list[str]:
    """The summary; what failed is told by its kind, with commands to type.

    `seconds`: how long it ran; None when there was nothing to run.  `before`: the figures when it
    began.
    """
    took = "" if seconds is None else f" in {duration(seconds)}"
    lines = [page.paint(report.headline(status) + took, "bold")]
    if before is not None and seconds is not None:
        lines += _since(status["totals"], before["totals"])
    if rest := report.others(status["totals"]):
        lines.append(rest)
    lines += ["", *_files(status, before)]
    kinds, more = report_some.kinds(status["failures"])
    failures = report.failures(kinds, page) + more
    lines += ["", *failures] if failures else []
    remarks = report.remarks(status, page)
    lines += ["", *remarks] if remarks else []
    return [*lines, "", *_next(status)]


def _since(now: Figures, before: Figures) -> list[str]:
    """What this run, and whoever worked beside it, did; nothing when that is all there is."""
    done = now["completed"] - before["completed"]
    if done == now["completed"]:
        return []
    failed = now["failed"] - before["failed"]
    return [
        f"since it began: {thousands(done)} completed"
        + (f", {thousands(failed)} failed" if failed > 0 else "")
    ]


def _files(status: Figures, before: Figures | None) -> list[str]:
    """The CSVs, with their rows and how many of them are new: those first that got some."""
    then = {each["output_dir"]: each["rows"] for each in before["directories"]} if before else {}
    found = [
        (each, each["rows"] - then.get(each["output_dir"], 0)) for each in status["directories"]
    ]
    shown = sorted(found, key=lambda pair: pair[1] <= 0)[:NAMED]
    wide = max((len(thousands(each["rows"])) for each, _ in shown), default=0)
    lines = [
        f"{thousands(each['rows']):>{wide}} {'row ' if each['rows'] == 1 else 'rows'}  "
        f"{printable(each['output_dir'])}/{CSV}{_more(each['rows'], new, bool(then))}"
        for each, new in shown
    ]
    rest = len(found) - len(shown)
    return lines + ([f"and {plural(rest, 'more file')}"] if rest > 0 else [])


def _more(rows: int, new: int, is_known: bool) -> str:
    """How many are new, where that is neither none nor all."""
    return f"  ({thousands(new)} new)" if is_known and 0 < new < rows else ""


def _next(status: Figures) -> list[str]:
    """What to type now."""
    steps = [
        step
        for each in trips(status)[:1]
        for step in (
            f"`sqlqueue failures phase={each.phase}` tells why the breaker paused it",
            f"`sqlqueue resume phase={each.phase}` and `run` again go on with it",
        )
    ]
    if status["failures"]:
        kind, task = status["failures"][0].get("kind"), status["failures"][0]["task_ids"][0]
        which = f"error={kind}" if kind else "state=failed"
        steps += [] if steps else ["`sqlqueue failures` tells what failed and why"]
        steps += [
            f"`sqlqueue logs {printable(str(task))}` shows the output of one of them",
            f"`sqlqueue retry {which}` and `run` again try it once more",
        ]
    if status.get("reruns_failed") and not steps:
        steps.append("`sqlqueue failures` tells what failed once more, and why")
    steps = steps or [
        "`sqlqueue verify` proves the files",
        "add values to a sweep and `run` it again: only the new cells run",
    ]
    return _listed(steps)


def _listed(steps: Sequence[str]) -> list[str]:
    first, *rest = [*(f"{each};" for each in steps[:-1]), steps[-1]]
    return [f"Next: {first}", *(f"      {each}" for each in rest)]
