"""A CSV that somebody else's program wrote, read row by row and as often as is needed.

Commas, semicolons, tabs or bars; quoted cells with line breaks in them; any line ends; UTF-8 with
or without a mark, or what a mark says.  Promises: memory for one row at a time; the file is only
read, and it is the same file to the end, whatever gets its name meanwhile.
What is not here: what columns and cells mean (`plan/layout.py`, `plan/fitting.py`).
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlqueue.errors import UsageError
from sqlqueue.plan.problems import shorten
from sqlqueue.protocol import MAX_MESSAGE_BYTES

SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
HEAD_BYTES: Final = 1 << 16
_MARKS: Final = {
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
_OTHERS: Final = {
    b"PK\x03\x04": "is a spreadsheet or an archive, not a CSV; save it as CSV first",
    b"\xd0\xcf\x11\xe0": "is a spreadsheet, not a CSV; save it as CSV first",
    b"\x1f\x8b": "is compressed; unpack it first",
    b"SQLite format 3": "is a database, not a CSV",
    b"PAR1": "is a Parquet file, not a CSV; write it as CSV first",
}

csv.field_size_limit(MAX_MESSAGE_BYTES)


@dataclass(frozen=True, slots=True)
class Line:
    """A row, and the number of the line that it begins in.  `trouble`: why it is none."""

    number: int
    cells: list[str]
    trouble: str = ""


class GivenCsv:
    """An open file; `separator` and `header` are known once `settle` was called."""

    def __init__(self, path: Path) -> None:
        """Raises `UsageError` for what is no CSV."""
        self.name = str(path)
        self.separator = ","
        self.header: list[str] = []
        self._fd = _opened(path)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._fd)

    def _begin(self) -> None:
        self._look = _look(self._fd)
        self.size_bytes = self._look[0]
        head = os.pread(self._fd, HEAD_BYTES, 0)
        self._encoding = _encoding(self.name, head)
        last = os.pread(self._fd, 2, max(0, self.size_bytes - 2))
        self._ended = b"\n" in last or b"\r" in last
        if self._encoding != "utf-16":
            self._ended = last.endswith((b"\n", b"\r"))

    @property
    def decimal_comma(self) -> bool:
        """Where cells are not separated by commas, one in a number is its decimal point."""
        return self.separator == ";"

    def settle(self, worth: Callable[[Sequence[str]], int]) -> None:
        """Finds out what separates cells: the header that is worth most, then the widest.

        Raises `UsageError` when there is no header.
        """
        found = {each: self._header(each) for each in SEPARATORS}
        ranked = {each: (worth(header), len(header)) for each, header in found.items()}
        self.separator = max(ranked, key=lambda each: ranked[each])
        self.header = found[self.separator]
        if not any(each.strip() for each in self.header):
            raise UsageError(f"{self.name}: has no header: its first line names no column")
        if wrong := [each for each in self.header if not _is_text(each)]:
            raise UsageError(f"{self.name}:1: {shorten(repr(wrong[0]))} is not text in UTF-8")

    def _header(self, separator: str) -> list[str]:
        return next((each.cells for each in self._lines(separator) if each.cells), [])

    def rows(self, advance: Callable[[int], None]) -> Iterator[Line]:
        """The rows below the header, from the beginning; empty lines and further headers left out.

        `advance` is told of bytes as they are read.
        """
        done = 0
        rows = self._lines(self.separator)
        next((each for each in rows if each.cells), None)
        for number, each in enumerate(self._judged(rows)):
            if number % 1000 == 0:
                there = os.lseek(self._fd, 0, os.SEEK_CUR)
                advance(there - done)
                done = there
            yield each
        advance(max(0, self.size_bytes - done))

    def _judged(self, rows: Iterator[Line]) -> Iterator[Line]:
        last: Line | None = None
        for each in rows:
            if last is not None:
                yield last
            last = self._judge(each) if any(map(str.strip, each.cells)) or each.trouble else None
            last = None if each.cells == self.header else last
        if last is not None and not self._ended and not last.trouble:
            why = "has no line end, so it may be cut short; add one if it is whole"
            last = Line(last.number, last.cells, why)
        if last is not None:
            yield last

    def _judge(self, line: Line) -> Line:
        cells, columns = line.cells, len(self.header)
        if line.trouble:
            return line
        if len(cells) != columns:
            why = f"has {len(cells)} cells, the header has {columns}"
            return Line(line.number, cells, why)
        if not all(map(_is_text, cells)):
            return Line(line.number, cells, "is not text in UTF-8; save the file as UTF-8")
        return line

    def _lines(self, separator: str) -> Iterator[Line]:
        """Every line of the file; one that cannot be read has no cells."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        binary = io.FileIO(self._fd, closefd=False)
        text = io.TextIOWrapper(
            io.BufferedReader(binary), self._encoding, errors="surrogateescape", newline=""
        )
        reader = csv.reader(text, delimiter=separator, strict=True)
        while True:
            number = reader.line_num + 1
            try:
                yield Line(number, next(reader))
            except StopIteration:
                return
            except csv.Error as error:
                yield Line(number, [], f"is no row: {error}")
            except UnicodeDecodeError:
                yield Line(number, [], "is not text; save the file as UTF-8")
                return

    def refuse_changed(self) -> None:
        """Raises `UsageError` when somebody has written to the file since it was opened."""
        if _look(self._fd) != self._look:
            raise UsageError(
                f"{self.name}: was changed while it was read; run the same command again when "
                "nobody writes to it"
            )


def _look(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_size, found.st_mtime_ns


def _opened(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such file; names are relative to the folder that you call it in"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        kind = "is a folder; name the CSVs in it" if stat.S_ISDIR(mode) else "is no ordinary file"
        raise UsageError(f"{path}: {kind}")
    return fd


def _encoding(name: str, head: bytes) -> str:
    if not head.strip():
        raise UsageError(f"{name}: is empty")
    for magic, why in _OTHERS.items():
        if head.startswith(magic):
            raise UsageError(f"{name}: {why}")
    marked = next((each for mark, each in _MARKS.items() if head.startswith(mark)), "")
    if b"\0" in head and marked != "utf-16":
        raise UsageError(f"{name}: is not a text, so not a CSV")
    return marked or "utf-8"


def _is_text(cell: str) -> bool:
    """Whether no byte of it was none of the encoding's."""
    return cell.isascii() or not any("\udc80" <= each <= "\udcff" for each in cell)


def refuse_twice(paths: Collection[Path]) -> None:
    """Raises `UsageError` for a file that was named twice."""
    seen: set[tuple[int, int]] = set()
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            continue  # told when it is opened
        if (found.st_dev, found.st_ino) in seen:
            raise UsageError(f"{path}: was named twice")
        seen.add((found.st_dev, found.st_ino))
