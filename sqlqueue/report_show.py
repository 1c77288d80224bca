"""One task for a person: who wants it, where its row is, how each attempt went, what came of it.

Pure.  What is not here: where it comes from (`showing.py`).
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlqueue.figures import cut_end, duration, plural
from sqlqueue.plan.headline import headline
from sqlqueue.plan.rows import cell
from sqlqueue.plan.version import shown as code_shown
from sqlqueue.tables import Column, Page, table
from sqlqueue.visible import printable

Task = Mapping[str, Any]

INDENT: Final = "    "
MOST_DIFFERENCES: Final = 20
_COLOURS: Final = {"COMPLETED": "green", "RUNNING": "cyan", "FAILED": "red", "CANCELLED": "yellow"}
_DIFFERENCES: Final = (
    Column("METRIC", least=10),
    Column("ACCEPTED", "right", least=8),
    Column("OTHER", "right", least=8),
    Column("DIFFERENCE", "right"),
)


def show_lines(task: Task, page: Page) -> list[str]:
    """Everything, part by part."""
    lines = [*_heading(task, page), ""]
    for attempt in task["attempts"]:
        lines += _attempt(attempt, page)
    if not task["attempts"]:
        lines.append("no attempt yet")
    lines += _result(task, page)
    for other in task["other_results"]:
        lines += _other(other, page)
    return lines


def _heading(task: Task, page: Page) -> Iterator[str]:
    state = page.paint(task["state"], _COLOURS.get(task["state"], ""))
    again = ", to run once more: its row stays until then" if task["rerun"] else ""
    held = ", held: all phases that want it are paused" if task["held"] else ""
    yield f"{page.paint(printable(task['task_id']), 'bold')}  {state}{again}{held}"
    yield f"signature    {task['signature']}"
    yield f"experiment   {printable(task['experiment'])}"
    yield f"phases       {_phases(task['phases']) or 'none'}"
    yield f"directories  {_directories(task['directories']) or 'none'}"
    yield from _wrapped("parameters   ", _pairs(task["parameters"]), page)
    if task["runtime_only"]:
        yield f"             runtime only: {printable(', '.join(task['runtime_only']))}"
    yield f"limits       {_limits(task)}"


def _wrapped(title: str, text: str, page: Page) -> list[str]:
    """Broken between pairs, so that none is torn and all can be copied."""
    return textwrap.wrap(
        text, page.columns, initial_indent=title, subsequent_indent=" " * len(title),
        break_long_words=False, break_on_hyphens=False,
    ) or [title.rstrip()]  # fmt: skip


def _phases(phases: Sequence[Task]) -> str:
    names = (
        printable(each["phase"])
        + ("" if each["wanted"] else " (withdrawn)")
        + (" (paused)" if each["paused"] else "")
        for each in phases
    )
    return ", ".join(names)


def _directories(directories: Sequence[Task]) -> str:
    names = (
        printable(each["output_dir"]) + (f" (row {each['row']})" if each["row"] else "")
        for each in directories
    )
    return ", ".join(names)


def _limits(task: Task) -> str:
    limit = task["timeout_seconds"]
    parts = [
        f"priority {task['priority']}",
        f"{task['failures']} of {plural(task['max_attempts'], 'attempt')} charged",
        *([f"{task['losses']} lost"] if task["losses"] else []),
        *([f"at most {duration(limit)} each"] if limit is not None else []),
    ]
    return ", ".join(parts)


def _pairs(values: Mapping[str, Any]) -> str:
    return printable(" ".join(f"{name}={json.dumps(each)}" for name, each in values.items()))


def _attempt(attempt: Task, page: Page) -> Iterator[str]:
    outcome = attempt["outcome"] or "RUNNING"
    where = " ".join(filter(None, (attempt["worker_id"], attempt["device"])))
    host = f" ({attempt['host']})" if attempt["host"] else ""
    stands = ", its result stands in the CSVs" if attempt["accepted"] else ""
    painted = page.paint(outcome, _COLOURS.get(outcome, ""))
    yield f"attempt {attempt['attempt']}  {painted} on {printable(where + host)}{stands}"
    yield f"{INDENT}{_times(attempt)}"
    yield f"{INDENT}code: {printable(code_shown(attempt['code_version']))}{_versions(attempt)}"
    if attempt["error"]:
        yield cut_end(
            f"{INDENT}{_before(outcome)}{printable(headline(attempt['error']))}", page.columns
        )
    if attempt["log_file"]:
        yield f"{INDENT}output: {printable(attempt['log_file'])}"


def _before(outcome: str) -> str:
    """A result completes what was lost or had failed: what was said then is no error of it."""
    return "before its result came: " if outcome == "COMPLETED" else ""


def _times(attempt: Task) -> str:
    began = _local(attempt["started_at"])
    if attempt["ended_at"] is None:
        return f"since {began}"
    took = "" if attempt["seconds"] is None else f", took {duration(attempt['seconds'])}"
    return f"{began} to {_local(attempt['ended_at'])}{took}"


def _local(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"


def _versions(attempt: Task) -> str:
    found = ", ".join(f"{name} {version}" for name, version in attempt["versions"].items())
    return f" ({printable(found)})" if found else ""


def _result(task: Task, page: Page) -> Iterator[str]:
    result = task["result"]
    if result is None:
        return
    yield ""
    yield page.paint(f"result of attempt {result['attempt']}", "bold")
    for name, value in result["metrics"].items():
        yield cut_end(f"{INDENT}{printable(name)} = {printable(cell(value))}", page.columns)


def _other(other: Task, page: Page) -> list[str]:
    """How another result differs from the accepted one."""
    differs = other["differs"]
    title = f"another result, of attempt {other['attempt']}"
    if not differs:
        return ["", f"{title}: the same"]
    rows = [
        [printable(name), *(_value(each[key]) for key in ("accepted", "other", "difference"))]
        for name, each in list(differs.items())[:MOST_DIFFERENCES]
    ]
    lines = [
        "",
        f"{title}, differs in {plural(len(differs), 'metric')}",
        *table(_DIFFERENCES, rows, page),
    ]
    if len(differs) > MOST_DIFFERENCES:
        lines.append(f"... and {len(differs) - MOST_DIFFERENCES} more (--json has all)")
    return lines


def _value(value: Any) -> str:
    return "-" if value is None else printable(cell(value))
