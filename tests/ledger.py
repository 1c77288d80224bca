"""What was promised, written down by those who heard it, and whether the CSVs keep it.

An independent oracle: clients write each ack into a file of their own and sync it; nothing is
read from the database.  `Ledger.check` may be called at any instant, before any recovery and
beside whoever is writing: an acked row stands whole in every CSV, and no row stands twice.
Where the power went (`recovered=False`) what nobody was promised may be anything, but only
after all that was.
Every result says what it must be (`metrics`), so that a torn or mixed row is seen.
What is not here: processes, and what the database thinks of it all.
"""

from __future__ import annotations

import csv
import io
import json
import os
import threading
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

CSV: Final = "final_results.csv"
GROUP: Final = 60
"""So many seeds in a row return the same further metric; the next ones return another."""


class Broken(AssertionError):
    """The promise does not hold."""


def metrics(seed: int, by: str) -> dict[str, Any]:
    """The result of a task, with a check of its own and a metric that widens the header."""
    text = f"{seed} {by}"
    check = zlib.crc32(text.encode())
    return {"value": seed / 3, "said": text, "check": check, f"extra_{seed // GROUP}": seed * 2}


def is_whole(row: dict[str, str]) -> bool:
    """Whether a row is exactly what somebody once submitted for its seed."""
    if not row.get("seed", "").isdecimal():
        return False
    expected = metrics(int(row["seed"]), row["said"].partition(" ")[2])
    extras = {name: text for name, text in row.items() if name.startswith("extra_") and text}
    own = {name: row.get(name, "") for name in expected}
    return own == {name: str(each) for name, each in expected.items()} and extras.keys() <= {*own}


@dataclass
class Ledger:
    """Acks, and links that an `init` which returned had made."""

    root: Path
    acked: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    linked: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def book(self, client: str) -> Book:
        return Book(self, os.open(self.root / f"{client}.acks", os.O_WRONLY | os.O_CREAT, 0o600))

    def ack(self, seed: int, folders: Iterable[str]) -> None:
        """Somebody has an ack for that seed, when it was linked to these directories."""
        with self._lock:
            self.acked[seed] += 1
            for each in folders:
                self.linked[each].add(seed)

    def link(self, folder: str, seeds: Iterable[int]) -> None:
        """An `init` that links those seeds to the directory has returned."""
        with self._lock:
            self.linked[folder].update(seeds)

    def wanted(self) -> set[int]:
        """Every seed that is linked to a directory."""
        with self._lock:
            return set().union(*self.linked.values())

    def heard(self) -> int:
        """How many acks there were, repeated ones included."""
        with self._lock:
            return sum(self.acked.values())

    def promised(self) -> dict[str, set[int]]:
        """The seeds whose row must stand in each directory, now and for ever."""
        with self._lock:
            return {
                each: {s for s in seeds if s in self.acked} for each, seeds in self.linked.items()
            }

    def check(self, *, recovered: bool = True) -> int:
        """Raises `Broken` with what does not hold; returns how many rows were looked at."""
        promised = self.promised()  # before the files are read: what comes later may be there
        read = whole_rows if recovered else rows_before_a_torn_one
        return sum(
            self._check(folder, seeds, list(read(self.root / folder / CSV)))
            for folder, seeds in promised.items()
        )

    @staticmethod
    def _check(folder: str, promised: set[int], rows: list[dict[str, str]]) -> int:
        seeds = [int(row["seed"]) for row in rows]
        found = set(seeds)
        if lost := sorted(promised - found):
            raise Broken(f"{folder}: acked but not in the CSV: {lost[:20]}")
        if len(found) < len(seeds):
            twice = sorted({each for each in seeds if seeds.count(each) > 1})
            raise Broken(f"{folder}: more than one row of {twice[:20]}")
        if torn := [row for row in rows if not is_whole(row)]:
            raise Broken(f"{folder}: not what was submitted: {torn[:3]}")
        return len(rows)


@dataclass
class Book:
    """A client's own file of acks: a line is synced before the ack counts."""

    ledger: Ledger
    fd: int

    def ack(self, seed: int, folders: list[str]) -> None:
        os.write(self.fd, json.dumps({"seed": seed, "folders": folders}).encode() + b"\n")
        os.fsync(self.fd)
        self.ledger.ack(seed, folders)

    def close(self) -> None:
        os.close(self.fd)


def whole_rows(path: Path) -> list[dict[str, str]]:
    """The rows that end with a line end; what follows the last one was never promised."""
    header, *lines = table(path)
    if torn := [cells for cells in lines if len(cells) != len(header)]:
        raise Broken(f"{path}: a torn row: {torn[0]}")
    return [dict(zip(header, cells, strict=True)) for cells in lines]


def rows_before_a_torn_one(path: Path) -> Iterator[dict[str, str]]:
    """The same, as far as they are whole: in an append that was not synced anything may stand."""
    header, *lines = table(path)
    for cells in lines:
        row = dict(zip(header, cells, strict=False))
        if len(cells) != len(header) or not is_whole(row):
            return
        yield row


def table(path: Path) -> list[list[str]]:
    """Header and rows, up to the last line end."""
    data = path.read_bytes() if path.exists() else b""
    text = data[: data.rfind(b"\n") + 1].decode(errors="replace")
    return list(csv.reader(io.StringIO(text, newline=""))) or [[]]
