"""The CSVs of all output directories: written in step with a transaction, taken back, recovered.

The database commit makes a row real.  Before it, rows are written and synced (`deliver`); if it
does not come, they are taken back (`undo`).  `recovery.py` mends what others left.

A directory that cannot be written, or does not answer, is suspended and tried again later;
the others go on.  Used from one thread only.  What is not here: what a row says.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from sqlalchemy import Connection

from sqlqueue.disk import Disk
from sqlqueue.errors import DirectoryUnavailable
from sqlqueue.home import Home
from sqlqueue.plan.rows import widened
from sqlqueue.store import csv_file, records
from sqlqueue.store.csv_file import NotAsRecorded, Record, SharedFile
from sqlqueue.store.delivering import Outcome, Rows, UnderWay, lacking, number, shares
from sqlqueue.store.lanes import Hung, Lanes
from sqlqueue.store.recovery import Mender
from sqlqueue.store.replacing import Share
from sqlqueue.store.rewriting import Transaction
from sqlqueue.store.suspension import TOO_FAST, Suspension, suspension

MOST_REDONE: Final = 5

log = logging.getLogger("sqlqueue.manager")


class Redo(Exception):
    """Nothing was delivered: directories need mending first, then the batch is done again."""


class Outputs:
    """The one owner of every CSV while a manager, or a lone command, holds the home."""

    def __init__(
        self,
        home: Home,
        *,
        disk: Disk | None = None,
        lanes: Lanes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.home = home
        self.disk = disk or Disk()
        self.lanes = lanes or Lanes()
        self.suspended: dict[int, Suspension] = {}
        self._clock = clock
        self._files: dict[str, Path] = {}
        """By stored path.  Whatever the root's path leads to later is another home's (its lock)."""
        self._mender = Mender(home, self.disk, self.lanes)
        self._under_way = UnderWay(home, self.disk, self.lanes)
        self._doubtful: dict[int, bytes] = {}
        self._due: dict[int, tuple[str, ...]] = {}
        self._redone: dict[int, int] = {}
        self._cut: dict[int, str] = {}
        self._anew: set[int] = set()

    # --- with a transaction ---------------------------------------------------------

    def require(self, directories: Iterable[tuple[int, str]]) -> None:
        """Raises `DirectoryUnavailable` when one of them is suspended."""
        for key, path in directories:
            if key in self.suspended:
                reason = self.suspended[key].reason
                raise DirectoryUnavailable(f"cannot write to {path} just now: {reason}")

    def deliver(self, connection: Connection, rows: Rows, again: Collection[str] = ()) -> None:
        """Writes and syncs the rows of each directory and records what the files then are.

        `again`: tasks whose rows take the place of those that they have.  Raises `Redo` when that
        was not possible everywhere: roll back, `undo`, `mend`, and do the batch again.
        """
        if not rows:
            return
        known = records.load(connection, rows)
        self._due |= lacking(known, rows)
        if self._due:
            raise Redo
        found = shares(connection, self._file, known, rows, again)
        outcomes = self._under_way.write(connection, found)
        self._sort_out(outcomes, found)
        records.save(connection, {k: r for k, r in outcomes.items() if isinstance(r, Record)})
        number(connection, found)

    def _sort_out(self, outcomes: Mapping[int, Outcome], found: Mapping[int, Share]) -> None:
        self._anew |= {key for key, each in outcomes.items() if isinstance(each, SharedFile)}
        for key, outcome in outcomes.items():
            if isinstance(outcome, BaseException):
                self._doubt(key)
                if not isinstance(outcome, NotAsRecorded):
                    self._suspend(key, found[key].file, outcome)
        if not all(isinstance(each, Record) for each in outcomes.values()):
            raise Redo

    def committed(self) -> None:
        """The transaction of the last `deliver` is durable."""
        self._under_way.forget()
        self._redone.clear()

    def undo(self) -> None:
        """Cuts off what was appended; what cannot be cut now, and a file that took another's
        place, is recovered before its next use."""
        looks = self._under_way.take_back()
        for key in self._under_way.written:
            look = looks.get(key)
            if isinstance(look, str):
                self._cut[key] = look
            else:
                self._doubt(key)
        self._under_way.forget()

    def unknown(self) -> None:
        """Whether the commit came is not known: every file just written must be recovered."""
        for key in self._under_way.written:
            self._doubt(key)
        self._under_way.forget()
        self._under_way.replacer.drop()

    def _doubt(self, key: int) -> None:
        """From now on the bytes last appended may or may not stand at the end of the file."""
        self._doubtful[key] = self._under_way.data(key)
        self._due.setdefault(key, ())

    def rebuild(self, keys: Iterable[int]) -> NoReturn:
        """Raises `Redo`: those files, suspended or not, are looked at before anything else."""
        for key in keys:
            self.suspended.pop(key, None)
            self._due.setdefault(key, ())
        raise Redo

    # --- between transactions ---------------------------------------------------------

    def mend(self, transaction: Transaction) -> None:
        """Makes usable what the last `Redo` was raised for, or suspends it."""
        due, self._due = self._due, {}
        looks, self._cut = self._cut, {}
        if looks:  # else the next append would take our own cut for a person's change
            with transaction() as connection:
                records.save_looks(connection, looks)
        usable = {key: columns for key, columns in due.items() if key not in self.suspended}
        self._redone |= {key: self._redone.get(key, 0) + 1 for key in usable}
        quiet = {key: columns for key, columns in usable.items() if columns and self._quiet(key)}
        widened = self._mender.widen(transaction, quiet)
        self._anew -= widened
        for key, columns in usable.items():
            if key not in widened:
                self.recover(transaction, key, columns)
        self._under_way.replacer.note(transaction, but=due)

    def _quiet(self, key: int) -> bool:
        """Whether a CSV that looks as recorded lacks nothing but columns."""
        free = key not in self._doubtful and not self.lanes.stuck(key)
        return free and self._redone[key] <= MOST_REDONE

    def recover(self, transaction: Transaction, key: int, columns: tuple[str, ...] = ()) -> bool:
        """Brings one CSV back to what the database says, with at least those columns.

        Returns whether the directory is usable; suspends it otherwise.
        """
        with transaction() as connection:
            path, record = records.load(connection, [key])[key]
        file = self._file(path)
        try:
            self._free(key)
            if self._redone.get(key, 0) > MOST_REDONE:
                raise DirectoryUnavailable(TOO_FAST)
            if not self._looks_right(key, file, record):
                record = self._mender.recovered(
                    transaction, key, file, record, self._doubtful.get(key, b"")
                )
            stale = key in self._anew and record.columns is not None
            if stale or set(columns) - set(record.columns or ()):
                wide = tuple(widened(record.columns or (), columns))
                self._mender.rewrite(transaction, key, file, record, wide, record.look)
        except (OSError, DirectoryUnavailable, NotAsRecorded) as error:
            self._suspend(key, file, error)
            return False
        self._anew.discard(key)
        self._doubtful.pop(key, None)
        if self.suspended.pop(key, None):
            log.info("Directory %s is usable again", path)
        return True

    def _free(self, key: int) -> None:
        """Raises while a disk call that was given up on may still do something to the file."""
        if self.lanes.stuck(key):
            raise DirectoryUnavailable("a disk call has not returned yet")

    def _looks_right(self, key: int, file: Path, record: Record) -> bool:
        """The cheap check; not enough where a write failed or was cut short."""
        if key in self.suspended or key in self._doubtful or record.next_checksum is not None:
            return False
        return bool(record.look) and record.look == self.lanes.one(key, self._looking(file))

    def recover_all(self, transaction: Transaction, epoch: int, *, anew: bool = False) -> None:
        """At the start of an epoch: every CSV that does not look as it was left is recovered.

        `anew`: each is replaced by a new file, so that whoever had the queue before, and may
        still hold one open, writes into a file that nobody sees.
        """
        with transaction() as connection:
            known = records.load(connection)
        self._mender.epoch = self._under_way.replacer.epoch = epoch
        self._anew = set(known) if anew else set()
        look_first = partial(csv_file.look_first, self.disk)
        calls = {key: partial(look_first, self._file(path)) for key, (path, _) in known.items()}
        for key, look in self.lanes.run(calls).items():
            path, record = known[key]
            changed = look != record.look or record.next_checksum is not None
            if not self._hangs(key, path, look) and (anew or changed):
                self.recover(transaction, key)

    def _looking(self, file: Path) -> Callable[[], str]:
        return partial(csv_file.look_at, self.disk, file)

    def repair_all(self, transaction: Transaction, go_on: Callable[[], None]) -> list[str]:
        """Compares every CSV, read as a whole, with the database; says what was done."""
        with transaction() as connection:
            known = records.load(connection)
        lines = []
        for key, (path, _) in known.items():
            go_on()
            lines += self._repair(transaction, key, path)
        return lines

    def _repair(self, transaction: Transaction, key: int, path: str) -> list[str]:
        file = self._file(path)
        try:
            self._free(key)
            actions = self._mender.repair(transaction, key, file, self._doubtful.get(key, b""))
            self.suspended.pop(key, None)
            self._doubtful.pop(key, None)
            return [f"{path}: {each}" for each in actions]
        except (OSError, DirectoryUnavailable, NotAsRecorded) as error:
            self._suspend(key, file, error)
            return [f"{path}: could not be repaired: {self.suspended[key].reason}"]

    def retry_suspended(self, transaction: Transaction) -> bool:
        """Tries again the suspended directories whose time has come; whether any is back."""
        late = [key for key, each in self.suspended.items() if each.retry_at <= self._clock()]
        if not (due := [key for key in late if not self.lanes.stuck(key)]):
            return False
        with transaction() as connection:
            known = records.load(connection, due)
        # Side by side: one after the other, each that hangs would stop everybody for the limit.
        looks = self.lanes.run({k: self._looking(self._file(p)) for k, (p, _) in known.items()})
        answering = [key for key in due if not self._hangs(key, known[key][0], looks[key])]
        return sum(self.recover(transaction, key) for key in answering) > 0

    def _hangs(self, key: int, path: str, look: str | BaseException) -> bool:
        """Whether a directory did not answer a look; it is suspended then."""
        if isinstance(look, Hung):
            self._suspend(key, self._file(path), look)
        return isinstance(look, Hung)

    def trouble(self) -> dict[int, str]:
        """Why nothing can be written to a directory just now; may be read from any thread."""
        slow = {k: f"no answer from the disk for {s:.0f} s" for k, s in self.lanes.slow().items()}
        return slow | {key: each.reason for key, each in list(self.suspended.items())}

    def forget(self, key: int) -> None:
        """The directory is not the queue's any more, or is another folder now."""
        known: list[dict[int, Any]] = [self.suspended, self._doubtful, self._due, self._redone]
        for each in (*known, self._cut):
            each.pop(key, None)
        self._anew.discard(key)

    def _suspend(self, key: int, file: Path, error: BaseException) -> None:
        before = self.suspended.get(key)
        now = self.suspended[key] = suspension(error, before, self._clock())
        if before is None or before.reason != now.reason:
            log.warning("Cannot write %s: %s; it is tried again by itself", file, now.reason)

    def _file(self, path: str) -> Path:
        found = self._files.get(path)
        if found is None:
            found = self._files[path] = self.home.absolute(path) / csv_file.NAME
        return found
