"""What `run` leaves in the terminal when it is done.

What is not here: the picture while it works (`live.py`).
"""

from __future__ import annotations

import sys
from typing import Final

from sqlqueue import report
from sqlqueue.figures import duration, plural, thousands
from sqlqueue.report import Figures
from sqlqueue.tables import Page, page_of
from sqlqueue.visible import printable

CSV: Final = "final_results.csv"
NAMED: Final = 8


def print_summary(status: Figures, seconds: float | None) -> None:
    """Prints what was completed, what failed, where the rows are, and what to do next."""
    print("\n".join(["", *summary_lines(status, seconds, page_of(sys.stdout))]), flush=True)


def summary_lines(status: Figures, seconds: float | None, page: Page) -> list[str]:
    """The summary; tasks that failed are named with what to look at.

    `seconds`: how long it ran; None when there was nothing to run.
    """
    took = "" if seconds is None else f" in {duration(seconds)}"
    lines = [page.paint(report.headline(status) + took, "bold")]
    if rest := report.others(status["totals"]):
        lines.append(rest)
    lines += ["", *_files(status)]
    failures = report.failures(status["failures"], page)
    lines += ["", *failures] if failures else []
    remarks = report.remarks(status, page)
    lines += ["", *remarks] if remarks else []
    return [*lines, "", *_next(status)]


def _files(status: Figures) -> list[str]:
    """The CSVs, with their rows."""
    found = status["directories"]
    wide = max((len(thousands(each["rows"])) for each in found), default=0)
    lines = [
        f"{thousands(each['rows']):>{wide}} {'row ' if each['rows'] == 1 else 'rows'}  "
        f"{printable(each['output_dir'])}/{CSV}"
        for each in found[:NAMED]
    ]
    rest = len(found) - NAMED
    return lines + ([f"and {plural(rest, 'more file')}"] if rest > 0 else [])


def _next(status: Figures) -> list[str]:
    if status["totals"]["failed"]:
        return [
            "Next: `sqlqueue failures` tells what failed and why;",
            "      `sqlqueue retry state=failed` and `run` again try it once more",
        ]
    return [
        "Next: `sqlqueue verify` proves the files;",
        "      add values to a sweep and `run` it again: only the new cells run",
    ]
