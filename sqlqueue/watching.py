"""`status`: the figures once, or again and again.

Promises: changes nothing; `--json` prints one object (one a line with `--watch`); what a
terminal shows of `--watch` always fits it.  What is not here: how the figures look.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from typing import Any, Final

from sqlqueue.contact import figures
from sqlqueue.errors import EXIT_DONE
from sqlqueue.figures import plural
from sqlqueue.home import Home
from sqlqueue.report import Figures, status_json, status_lines
from sqlqueue.report_held import why_held
from sqlqueue.report_some import ALL
from sqlqueue.tables import page_of, redrawable

REDRAW: Final = "\x1b[H\x1b[J"
AWAY: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""Another screen, no cursor, long lines cut."""
BACK: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"


def once(home: Home, as_json: bool, everything: bool) -> int:
    """Prints the figures; of a large queue what matters, unless it is `everything`."""
    _print(figures(home), as_json, everything)
    return EXIT_DONE


def _print(status: Figures, as_json: bool, everything: bool = False) -> None:
    page = page_of(sys.stdout)
    text = status_json(status) if as_json else "\n".join(status_lines(status, page, everything))
    print(text, flush=True)


def watch(home: Home, interval_seconds: float, as_json: bool) -> int:
    """Prints the figures until Ctrl-C; a terminal is redrawn in place."""
    status: dict[str, Any] = figures(home)
    on_screen = redrawable(sys.stdout) and not as_json
    try:
        _enter(on_screen)
        while True:
            _show(status, as_json, on_screen)
            time.sleep(interval_seconds)
            status = figures(home)
    except KeyboardInterrupt:
        return EXIT_DONE
    finally:
        _leave(status, on_screen)


def _enter(on_screen: bool) -> None:
    if on_screen:
        print(AWAY, end="", flush=True)


def _leave(status: Figures, on_screen: bool) -> None:
    """What was seen last stays in the terminal."""
    if on_screen:
        print(BACK, end="", flush=True)
        _print(status, as_json=False)


def _show(status: Figures, as_json: bool, on_screen: bool) -> None:
    if as_json:
        print(status_json(status, indent=None), flush=True)
    elif on_screen:
        print(REDRAW + "\n".join(fitting(status)), end="", flush=True)
    else:
        lines = status_lines(status, page_of(sys.stdout), everything=False)
        print("\n".join([_heading(status), *lines, ""]), flush=True)


def fitting(status: Figures) -> list[str]:
    """The lines that the terminal has room for; directories give way, then quiet phases."""
    room = os.get_terminal_size(sys.stdout.fileno()).lines
    lines = _screen(status)
    if len(lines) > room:
        less = _without_directories(status)
        excess = len(_screen(less)) + len(_left_out(status, less)) - room
        less = _without_quiet_phases(less, excess) if excess > 0 else less
        lines = [*_screen(less), *_left_out(status, less)]
    if len(lines) <= room:
        return lines
    left_out = len(lines) - room + 1
    return [*lines[: room - 1], f"... {left_out} more lines: {ALL}"]


def _without_directories(status: Figures) -> dict[str, Any]:
    """Only those stay that something is wrong with."""
    troubled = [each for each in status["directories"] if each["trouble"]]
    return {**status, "directories": troubled}


def _without_quiet_phases(status: Figures, excess: int) -> dict[str, Any]:
    """So many phases less, the last ones first; those that run or failed stay."""
    quiet = [
        each for each in status["phases"]
        if not (each["running"] or each["failed"] or why_held(each))
    ]  # fmt: skip
    gone = {each["phase"] for each in quiet[-excess:]}
    kept = [each for each in status["phases"] if each["phase"] not in gone]
    return {**status, "phases": kept}


def _left_out(status: Figures, less: Figures) -> list[str]:
    """What does not stand on the screen."""
    phases = len(status["phases"]) - len(less["phases"])
    directories = len(status["directories"]) - len(less["directories"])
    parts = [plural(phases, "more phase")] if phases else []
    if directories:
        parts.append(plural(directories, "output directory", "output directories"))
    return ["", f"{' and '.join(parts)}: {ALL}"] if parts else []


def _screen(status: Figures) -> list[str]:
    return [_heading(status), "", *status_lines(status, page_of(sys.stdout))]


def _heading(status: Figures) -> str:
    moment = datetime.fromisoformat(str(status["as_of"])).astimezone()
    return f"{moment:%H:%M:%S}  (Ctrl-C ends this, nothing else)"
