"""What failed, for a person: kinds with what their tasks share, and one traceback of each.

Pure.  What is not here: where the groups come from (`failing.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlqueue.figures import cut_end, plural, thousands
from sqlqueue.report_steering import by_phase
from sqlqueue.tables import Page
from sqlqueue.visible import printable

Group = Mapping[str, Any]

LINES: Final = 12
"""Of a traceback: its end tells most, `logs` have all."""
INDENT: Final = "    "
LIMIT: Final = "a larger `timeout` in the sweep file and `sqlqueue init` again allow them more time"


def failure_lines(found: Sequence[Group], page: Page) -> list[str]:
    """Every group, the most frequent first."""
    if not found:
        return ["Nothing failed"]
    lines: list[str] = []
    for each in found:
        lines += ["", *_group(each, page)] if lines else [*_group(each, page)]
    first = found[0]
    verb = "rerun" if first["kept"] == first["count"] else "retry"
    return [*lines, "", f"Again: `sqlqueue {verb} error={first['kind']}` takes the first group"]


def _group(group: Group, page: Page) -> Iterator[str]:
    kind = "" if group["outcome"] == "FAILED" else f"{group['outcome']} "
    title = f"{thousands(group['count'])} × {kind}{printable(group['error'])}"
    yield page.paint(cut_end(title, page.columns), "red")
    if group["shared"]:
        pairs = (f"{name}={json.dumps(value)}" for name, value in group["shared"].items())
        who = "all of them and nothing else" if group["count"] > 1 else "it alone has"
        text = f"{INDENT}{who}: {printable(' '.join(pairs))}"
        yield page.paint(cut_end(text, page.columns), "bold")
    yield f"{INDENT}{_what_now(group)}; phases: {by_phase(group['phases'])}; error={group['kind']}"
    if group["outcome"] == "TIMEOUT":
        yield f"{INDENT}{LIMIT}"
    yield from _example(group["example"], page)


def _what_now(group: Group) -> str:
    final, again = group["final"], group["again"]
    parts = [f"{thousands(final)} failed for good"] if final else []
    if kept := group["kept"]:
        parts.append(f"{thousands(kept)} run once more in vain, with their old results")
    return ", ".join(parts + ([f"{plural(again, 'task')} to be tried again"] if again else []))


def _example(example: Group, page: Page) -> Iterator[str]:
    where = " ".join(printable(str(example[name])) for name in ("worker_id", "device"))
    task = printable(str(example["task_id"]))
    yield f"{INDENT}{task} attempt {example['attempt']} on {where.strip()}:"
    lines = str(example["error"]).strip().splitlines() or ["(nothing was said)"]
    if len(lines) > LINES:
        yield f"{INDENT}| [... {plural(len(lines) - LINES, 'line')}]"
    for line in lines[-LINES:]:
        yield cut_end(f"{INDENT}| {printable(line)}", page.columns)
    if example["log_file"]:
        yield f"{INDENT}output: {printable(str(example['log_file']))}"
