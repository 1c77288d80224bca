"""The figures of `status` as text for a person, and as JSON for a program.

Pure: the dict that `docs/STATUS.md` describes goes in, lines come out, no wider than the
page.  Light: neither rich nor anything that reads the queue is imported.  What is not
here: where the figures come from (`contact.py`), and the live display of `run`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlqueue import report_some
from sqlqueue.figures import cut_end, duration, plural, share, thousands, width
from sqlqueue.report_breaker import lines as broken
from sqlqueue.report_held import once_more, steered, why_held
from sqlqueue.report_workers import workers
from sqlqueue.tables import Column, Page, table
from sqlqueue.visible import printable

Figures = Mapping[str, Any]

KEYS: Final = (
    *("queue", "home", "root", "as_of", "manager", "totals", "phases", "directories"),
    *("workers", "failures", "given_back", "unsubmitted", "set_aside", "eta_seconds"),
    *("work_seconds", "done", "rerunning", "reruns_failed", "paused", "held", "drained"),
    *("private_copy",),
)
"""The keys of the figures, in the order in which they are shown."""
OTHERS: Final = ("running", "pending", "failed", "cancelled")
BAR: Final = 12
WIDE: Final = 1000
SILENT: Final = "         it does not answer (starting? else `sqlqueue doctor` says why)"
COPY: Final = "         none answers: read from a private copy of the database"

_COUNTS: Final = (
    Column("RUNNING", "right", colour="cyan"),
    Column("PENDING", "right"),
    Column("FAILED", "right", colour="red"),
    Column("CANCELLED", "right", colour="yellow"),
)
_PHASES: Final = (
    Column("PHASE", least=12),
    Column("", "right"),
    Column("DONE", "right", colour="green"),
    Column("OF", "right"),
    *_COUNTS,
    Column("LEFT", "right"),
)
_DIRECTORIES: Final = (
    Column("OUTPUT DIRECTORY", least=16),
    Column("ROWS", "right", colour="green"),
    Column("OF", "right"),
    *_COUNTS,
    Column("WAITING", "right", colour="yellow"),
)


def status_json(status: Figures, indent: int | None = 2) -> str:
    """The figures as JSON that every parser takes: NaN and infinity become their names."""
    ordered = {key: status[key] for key in KEYS if key in status} | dict(status)
    return document(ordered, indent)


def document(value: Any, indent: int | None = 2) -> str:
    """The value as JSON that every parser takes."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def plain(value: Any) -> Any:
    """The value with the names of NaN and infinity in their place."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def status_lines(status: Figures, page: Page, everything: bool = True) -> list[str]:
    """What `sqlqueue status` prints; of a large queue what matters, unless it is `everything`."""
    sections = (
        ("phases", phases, report_some.phases),
        ("directories", directories, report_some.directories),
        ("workers", workers, report_some.workers),
        ("failures", failures, report_some.kinds),
    )
    parts = [overview(status, page)]
    for name, shown, some in sections:
        found, rest = (status[name], []) if everything else some(status[name])
        parts.append(
            shown(found, page) + [page.paint(cut_end(each, page.columns), "dim") for each in rest]
        )
    return _joined(part for part in (*parts, remarks(status, page), advice(status)) if part)


def _joined(parts: Iterable[list[str]]) -> list[str]:
    lines: list[str] = []
    for part in parts:
        lines += ["", *part] if lines else part
    return lines


def overview(status: Figures, page: Page) -> list[str]:
    """Which queue, how far it is, and who manages it."""
    rest = others(status["totals"])
    return [
        f"queue    {printable(str(status['home']))}",
        f"tasks    {page.paint(headline(status), 'bold')}",
        *([f"         {rest}"] if rest else []),
        f"manager  {_manager(status['manager'], status['done'])}",
        *([SILENT] if _is_silent(status["manager"]) else []),
        *([COPY] if status.get("private_copy") else []),
    ]


def headline(status: Figures) -> str:
    """How far the whole queue is."""
    done, total = status["totals"]["completed"], status["totals"]["total"]
    if not total:
        return "none yet; `sqlqueue init FILES...` adds some"
    text = f"{thousands(done)} of {plural(total, 'task')} completed ({share(done, total)})"
    eta = status["eta_seconds"]
    if status["done"]:
        return text
    if eta is None:
        return f"{text}, time left not known yet"
    return f"{text}, about {duration(eta)} {'left' if status['totals']['running'] else 'of work'}"


def others(totals: Figures) -> str:
    """The tasks that are not completed, by state."""
    return ", ".join(f"{thousands(totals[name])} {name}" for name in OTHERS if totals[name])


def _manager(manager: Figures, done: bool) -> str:
    if not manager["running"]:
        return "not running" + ("" if done else "; `sqlqueue serve` starts one")
    host = printable(str(manager.get("host") or "this host"))
    return f"pid {manager['pid']} on {host}{_since(manager.get('started_at'))}"


def _is_silent(manager: Figures) -> bool:
    return manager["running"] and not manager.get("answers", True)


def _since(moment: object) -> str:
    try:
        local = datetime.fromisoformat(str(moment)).astimezone()
    except ValueError:
        return ""
    return f", since {local:%Y-%m-%d %H:%M}"


def phases(found: Sequence[Figures], page: Page) -> list[str]:
    """One line per phase."""
    return table(_PHASES, [_phase(each, page) for each in found], page) if found else []


def _phase(phase: Figures, page: Page) -> list[str]:
    done, total = phase["completed"], phase["total"]
    wide = page.columns >= 100
    return [
        printable(phase["phase"]),
        bar(done, total) if wide else share(done, total),
        *_counts(phase, done, total),
        left(phase),
    ]


def left(phase: Figures) -> str:
    """How long a phase will still take, or that it waits; nothing when it is finished or nothing
    is known."""
    waiting, eta = phase["pending"] + phase["running"], phase.get("eta_seconds")
    if waiting and (held := why_held(phase)):
        return held
    return duration(eta) if waiting and eta is not None else ""


def bar(done: int, total: int, columns: int = BAR) -> str:
    """A bar and its percentage."""
    full = columns * done // total if total else 0
    return f"{'█' * full}{'░' * (columns - full)} {share(done, total):>4}"


def _counts(each: Figures, done: int, total: int) -> list[str]:
    cancelled = each["cancelled"]
    return [
        thousands(done),
        thousands(total),
        *(thousands(each[name]) for name in ("running", "pending", "failed")),
        thousands(cancelled) if cancelled else "",
    ]


def directories(found: Sequence[Figures], page: Page) -> list[str]:
    """One line per output directory; what is wrong with one stands below all."""
    if not found:
        return []
    troubles = [_trouble(each, page) for each in found if each["trouble"]]
    return table(_DIRECTORIES, [_directory(each) for each in found], page) + troubles


def _directory(each: Figures) -> list[str]:
    waiting = each["unsubmitted"]
    return [
        printable(each["output_dir"]),
        *_counts(each, each["rows"], each["total"]),
        thousands(waiting) if waiting else "",
    ]


def _trouble(each: Figures, page: Page) -> str:
    text = f"trouble in {printable(each['output_dir'])}: {printable(each['trouble'])}"
    return page.paint(text, "red")


def failures(found: Sequence[Figures], page: Page) -> list[str]:
    """What failed, the same error only once, with tasks to look at."""
    lines = [page.paint("FAILED", "bold")] if found else []
    for each in found:
        kind = each.get("outcome", "FAILED")
        shown = each["error"] if kind == "FAILED" else f"{kind} {each['error']}"
        lines.append(f"{thousands(each['count'])} × {_error(shown, page.columns - 8)}")
        if shared := each.get("shared"):
            pairs = " ".join(f"{name}={json.dumps(value)}" for name, value in shared.items())
            lines.append(cut_end(f"    all with {printable(pairs)}", page.columns))
        lines.append(f"    {_tasks(each, page.columns - 4)}")
    return lines


def _error(error: object, columns: int) -> str:
    lines = str(error or "no reason given").strip().splitlines() or ["no reason given"]
    return cut_end(printable(lines[-1]), columns)


def _tasks(failure: Figures, columns: int) -> str:
    """As many task ids as there is room for, one at least, and how many more there are."""
    ids = [printable(each) for each in failure["task_ids"]]
    text = ""
    for number in range(len(ids), 0, -1):
        rest = failure["count"] - number
        text = ", ".join(ids[:number]) + (f" and {thousands(rest)} more" if rest > 0 else "")
        if width(text) <= columns:
            break
    return cut_end(text, columns)


def remarks(status: Figures, page: Page) -> list[str]:
    """What a person should know beyond the figures."""
    lines = broken(status, page)
    lines += [page.paint(each, "yellow") for each in steered(status)]
    lines += [page.paint(each, "yellow") for each in once_more(status)]
    lines += [page.paint(f"set aside: {printable(each)}", "yellow") for each in status["set_aside"]]
    if waiting := status["unsubmitted"]:
        text = f"{plural(waiting, 'result')} saved locally, not in the database yet"
        lines.append(page.paint(f"{text}; a running manager takes them in", "yellow"))
    for each in status.get("given_back", []):
        text = f"given back, not charged: {printable(each['error'])} ({_tasks(each, WIDE)})"
        lines.append(page.paint(text, "yellow"))
    return lines


def advice(status: Figures) -> list[str]:
    """What to type when something failed."""
    if not status["failures"]:
        return []
    task = printable(str(status["failures"][0]["task_ids"][0]))
    return [
        "why: `sqlqueue failures` (what they share, one traceback of each kind)",
        f"output: `sqlqueue logs {task}`",
    ]
