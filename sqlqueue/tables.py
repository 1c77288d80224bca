"""Plain tables that fit a terminal, and the few colours used.

Pure: text in, lines out.  Promises: no line is wider than asked for as long as the fixed
columns fit; a pipe gets the same text without colours.  What is not here: what the
columns mean, and rich, which takes longer to import than `status` may take.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TextIO

from sqlqueue.figures import cut, cut_end, width

GAP: Final = "  "
WIDEST: Final = 160
CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, its side, how it gives way, and what colours it.

    `least`: the width that it may be shortened to, 0 for never.  `colour`: of cells that
    say something (not empty, not 0).
    """

    title: str
    side: Literal["left", "right"] = "left"
    least: int = 0
    keep: Literal["ends", "start"] = "ends"
    colour: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Where text goes: how wide it is, and whether it shows colours."""

    columns: int = 80
    colours: bool = False

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour, where there are colours."""
        return f"\x1b[{CODES[colour]}m{text}\x1b[0m" if self.colours and colour else text


def page_of(stream: TextIO) -> Page:
    """The page that a stream is: a terminal as wide as it is, a pipe wide and colourless."""
    terminal = stream.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM", "dumb") == "dumb"
    return Page(columns_of(stream, terminal), terminal and not plain)


def redrawable(stream: TextIO) -> bool:
    """Whether what stands there can be drawn over: a terminal that says it knows how."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def columns_of(stream: TextIO, terminal: bool) -> int:
    """COLUMNS, else the terminal's own, else enough for whole names."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdigit() and int(asked) > 0:
        return max(40, int(asked))
    try:
        return max(40, min(WIDEST, os.get_terminal_size(stream.fileno()).columns))
    except (OSError, ValueError):
        return 80 if terminal else WIDEST


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], page: Page) -> list[str]:
    """The rows under their titles; a column that is empty in every row is left out."""
    cells = [list(row) for row in rows]
    used = [index for index in range(len(columns)) if any(row[index] for row in cells)]
    columns = [columns[index] for index in used]
    cells = [[row[index] for index in used] for row in cells]
    widths = fitted(columns, _natural(columns, cells), page.columns)
    title = _line([each.title for each in columns], columns, widths, Page())
    return [page.paint(title, "bold")] + [_line(row, columns, widths, page) for row in cells]


def _natural(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    return [
        max([width(column.title), *(width(row[index]) for row in cells)])
        for index, column in enumerate(columns)
    ]


def fitted(columns: Sequence[Column], natural: Sequence[int], total: int) -> list[int]:
    """The widths that make one line fit: the widest column that can give way does, first."""
    widths = list(natural)
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - total
    while excess > 0:
        able = [i for i, each in enumerate(columns) if each.least and widths[i] > each.least]
        if not able:
            break
        widths[max(able, key=lambda i: widths[i])] -= 1
        excess -= 1
    return widths


def _line(row: Sequence[str], columns: Sequence[Column], widths: Sequence[int], page: Page) -> str:
    cells = (
        _cell(text, column, columns_wide, page)
        for text, column, columns_wide in zip(row, columns, widths, strict=True)
    )
    return GAP.join(cells).rstrip()


def _cell(text: str, column: Column, columns_wide: int, page: Page) -> str:
    text = (cut if column.keep == "ends" else cut_end)(text, columns_wide)
    space = " " * (columns_wide - width(text))
    shown = page.paint(text, column.colour) if text not in ("", "0") else text
    return space + shown if column.side == "right" else shown + space
