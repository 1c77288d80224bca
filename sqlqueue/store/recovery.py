"""Bringing one CSV back to what the database says, whatever became of it.

Recovery is by ownership.  What begins exactly as recorded is ours: it is cut back, its tail
kept in the home's `salvage/` unless this process knows that it wrote it.  What a rewrite of
ours put there is ours: it is written anew.  Anything else is a person's: it is moved aside,
named in the database before it is moved, and the file is rebuilt.

Promises: no byte that is not provably ours is destroyed; nothing is put into a folder in which
neither our file nor our marker is; a crash at any disk call leaves a state that the next
recovery understands.  What is not here: when to recover.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from sqlqueue.errors import DirectoryUnavailable
from sqlqueue.plan.task import OWN_COLUMNS
from sqlqueue.store import csv_file, records
from sqlqueue.store.csv_file import Found, Kind, NotAsRecorded, Record
from sqlqueue.store.rewriting import SLOWEST_BYTES_A_SECOND, Rewriter, Transaction, expected

LONGEST_TAIL_BYTES: Final = 64 * 1024 * 1024
"""A longer tail is a file of its own: the whole is moved aside."""

log = logging.getLogger("sqlqueue.manager")


class Mender(Rewriter):
    """Recovers single CSVs; disk calls go through the lanes."""

    def recovered(
        self, transaction: Transaction, key: int, file: Path, record: Record, doubtful: bytes
    ) -> Record:
        """Makes the file what the database says and returns its new record.

        `doubtful`: bytes that this process may have left at its end.
        """
        self._refuse_other(transaction, key, file.parent)
        found = self._found(key, file, record)
        if found.kind is Kind.ABSENT:
            self.lanes.one(key, partial(self._marked, file.parent))
        if found.kind is Kind.ABSENT and record.columns is None:
            # What a rewrite put there before the power went may be gone with it.
            return self._saved(transaction, key, record, look="") if record.look else record
        if found.kind is Kind.LONGER:
            with transaction():  # of who took the home over meanwhile, it is no tail
                pass
        if found.kind in (Kind.EXACT, Kind.LONGER):
            cut = self._cut_back(key, file, found, doubtful)
            if cut is not None:
                return self._saved(transaction, key, record, look=cut)
            found = replace(found, kind=Kind.FOREIGN)
        if found.kind is Kind.INTENDED and not self._salvage_tail(key, file, found, doubtful):
            found = replace(found, kind=Kind.FOREIGN)
        if found.kind is Kind.FOREIGN:
            self._set_aside(transaction, key, file, record, found.look)
        if record.columns is None and found.kind is Kind.FOREIGN:
            return self._saved(transaction, key, record, look="")
        standing = found.look if found.kind is Kind.INTENDED else ""
        columns = record.columns or OWN_COLUMNS
        return self.rewrite(transaction, key, file, record, columns, standing)

    def _refuse_other(self, transaction: Transaction, key: int, folder: Path) -> None:
        """Raises where a link leads to the folder of another output directory by now."""
        real = Path(self.lanes.one(key, partial(os.path.realpath, folder)))
        if real == folder:
            return
        path = self.home.relative(real)
        with transaction() as connection:
            known = records.directory_keys(connection, [path])
        if known and key not in known.values():
            raise DirectoryUnavailable(
                f"a link leads to the folder of another output directory, {path}; make it a "
                "folder of its own again"
            )

    def _marked(self, folder: Path) -> None:
        """Raises where file and marker are both gone: what was there may come back (a mount)."""
        try:
            self.disk.stat(folder / csv_file.MARKER)
        except FileNotFoundError:
            self.disk.stat(folder)
            raise DirectoryUnavailable(
                f"its {csv_file.MARKER} is missing too: is a disk not mounted? If it was emptied, "
                "`sqlqueue verify --repair` makes both anew"
            ) from None

    def _found(self, key: int, file: Path, record: Record) -> Found:
        extra = record.length_bytes / SLOWEST_BYTES_A_SECOND
        return self.lanes.one(key, partial(csv_file.inspect, self.disk, file, record), extra)

    def repair(self, transaction: Transaction, key: int, file: Path, doubtful: bytes) -> list[str]:
        """Recovers the file; one that even so is not what the database says is moved aside, since
        nothing accounts for its bytes, and rebuilt.
        """
        with transaction() as connection:
            _, record = records.load(connection, [key])[key]
        found = self._found(key, file, record)
        after = self.recovered(transaction, key, file, record, doubtful)
        actions = [] if found.kind is Kind.EXACT or after.columns is None else [_action(found)]
        if after.columns is not None:
            with transaction() as connection:
                lines = list(expected(connection, key, after.columns))
            if csv_file.extend(csv_file.EMPTY, b"".join(lines)) != after.checksum:
                self._set_aside(transaction, key, file, after, after.look)
                self.rewrite(transaction, key, file, after, after.columns, "")
                actions.append("was not what the database says; moved aside and rebuilt")
        return actions

    def _cut_back(self, key: int, file: Path, found: Found, doubtful: bytes) -> str | None:
        """How the file looks, cut to what is recorded; None when its tail is too long to keep."""
        if found.kind is Kind.LONGER and not self._salvage_tail(key, file, found, doubtful):
            return None
        call = partial(csv_file.cut, self.disk, file, found.own_bytes, found.look)
        return self.lanes.one(key, call)

    def _salvage_tail(self, key: int, file: Path, found: Found, doubtful: bytes) -> bool:
        """Keeps what follows our own bytes, unless we know that we wrote it ourselves."""
        reading = partial(csv_file.tail, file, found.own_bytes, LONGEST_TAIL_BYTES + 1)
        tail = self.lanes.one(key, reading, LONGEST_TAIL_BYTES / SLOWEST_BYTES_A_SECOND)
        if len(tail) > LONGEST_TAIL_BYTES:
            return False
        if doubtful.startswith(tail):
            return True
        name = f"{file.parent.name or 'root'}-{hashlib.sha256(tail).hexdigest()[:16]}.tail"
        target = self.home.salvage / name
        try:
            self._keep(tail, target)
        except OSError as error:  # of the home's disk, not of the CSV's
            what = f"what it ends with cannot be kept in {target.parent}: {error.strerror}"
            raise OSError(error.errno, what) from None
        log.warning("Cut %d bytes off %s; they are kept in %s", len(tail), file, target)
        return True

    def _keep(self, tail: bytes, target: Path) -> None:
        if target.exists():  # from whoever died before its name was there for good
            self.disk.fsync_dir(target.parent)
        else:
            self.disk.write_beside(target, tail, 0o600)

    def _set_aside(
        self, transaction: Transaction, key: int, file: Path, record: Record, look: str
    ) -> None:
        """Moves a person's file, which looks so, out of the way, named before it is moved."""
        target = self.lanes.one(key, partial(free_name, file))
        reason = "is not what sqlqueue wrote" if record.columns else "was not written by sqlqueue"
        with transaction() as connection:
            path = self.home.relative(target)
            records.remember_set_aside(connection, key, path, reason, time.time())
        self.lanes.one(key, partial(self._move, file, target, look))
        log.warning("%s %s: moved aside to %s", file, reason, target.name)

    def _move(self, file: Path, target: Path, look: str) -> None:
        if look and csv_file.look_at(self.disk, file) != look:
            raise NotAsRecorded(f"{file} was changed from outside")
        self.disk.set_aside(file, target)
        if look and not csv_file.same_file(csv_file.look_at(self.disk, target), look):
            self._put_back(target, file)
        self.disk.fsync_dir(file.parent)

    def _put_back(self, target: Path, file: Path) -> NoReturn:
        """It got the name after the look: from a person, or from who took the home over."""
        with suppress(FileExistsError):
            self.disk.set_aside(target, file)
        self.disk.fsync_dir(file.parent)
        raise NotAsRecorded(f"{file} was changed from outside")


def _action(found: Found) -> str:
    return {
        Kind.ABSENT: "was missing; rebuilt from the database",
        Kind.LONGER: "had something after its last row; cut off and kept in the home's salvage/",
        Kind.INTENDED: "a rewrite had been cut short; done again",
        Kind.FOREIGN: "was not what sqlqueue wrote; moved aside and rebuilt from the database",
        Kind.EXACT: "was as recorded",
    }[found.kind]


def free_name(file: Path) -> Path:
    """A name beside the file, not taken, that says when it was moved aside."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = f"{file.name}.set-aside-{stamp}"
    number = 1
    while (target := file.with_name(name)).exists() or target.is_symlink():
        number += 1
        name = f"{file.name}.set-aside-{stamp}-{number}"
    return target
