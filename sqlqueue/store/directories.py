"""Output directories become this queue's: resolved, made, marked, checked.

Promises: all or none; a CSV that sqlqueue did not write is not touched unless asked to move it
aside; directories are compared by resolved path, so `results`, `./results/` and a symbolic
link to it are one.  What is not here: rows.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection

from sqlqueue.disk import Disk
from sqlqueue.errors import DirectoryError
from sqlqueue.home import Home
from sqlqueue.store import csv_file, records
from sqlqueue.store.lanes import Lanes
from sqlqueue.store.recovery import free_name

T = TypeVar("T")

RESERVED: Final = frozenset((csv_file.NAME, csv_file.MARKER, "unsubmitted"))
"""What lies in an output directory cannot be one."""


def stored_path(home: Home, output_dir: str) -> str:
    """The one stored form of a directory, however a sweep file spells it.

    Raises `DirectoryError` for one inside the home, and for a name that sqlqueue uses itself.
    """
    found = Path(os.path.realpath(home.root / output_dir))
    if found.is_relative_to(os.path.realpath(home.path)):
        raise DirectoryError("is inside the queue's home; choose another output_dir")
    if taken := sorted(RESERVED.intersection(found.parts)):
        raise DirectoryError(f"{taken[0]} is a name that sqlqueue uses itself; choose another")
    return home.relative(found)


class Claims:
    """Claims directories for one queue; remembers the spellings it has resolved."""

    def __init__(self, home: Home, disk: Disk, lanes: Lanes) -> None:
        self.home = home
        self.disk = disk
        self.lanes = lanes
        self._keys: dict[str, int] = {}

    def keys(self, connection: Connection, output_dirs: Iterable[str]) -> dict[str, int]:
        """The key of each directory as spelled; raises when one was never claimed."""
        spelled = list(dict.fromkeys(output_dirs))
        fresh = [each for each in spelled if each not in self._keys]
        if fresh:
            self._look_up(connection, fresh)
        return {each: self._keys[each] for each in spelled}

    def _look_up(self, connection: Connection, spelled: list[str]) -> None:
        calls = {each: partial(stored_path, self.home, each) for each in spelled}
        paths = _all(self.lanes.run(calls))
        known = records.directory_keys(connection, set(paths.values()))
        missing = sorted(each for each, path in paths.items() if path not in known)
        if missing:
            raise DirectoryError(f"not claimed for this queue yet: {', '.join(missing)}")
        self._keys |= {each: known[path] for each, path in paths.items()}

    def known(self) -> dict[str, int]:
        """The key of every spelling resolved so far."""
        return dict(self._keys)

    def forget(self) -> None:
        """After a rollback: what was remembered may not be in the database."""
        self._keys.clear()

    def claim(
        self, connection: Connection, output_dirs: Iterable[str], now: float, *, set_aside: bool
    ) -> list[str]:
        """Makes the directories this queue's; returns the names of files moved aside.

        Raises `DirectoryError` that lists every directory which cannot be used.
        """
        calls = {each: partial(stored_path, self.home, each) for each in output_dirs}
        paths = _all(self.lanes.run(calls))
        known = records.directory_keys(connection, set(paths.values()))
        written = records.written(connection, known.values())
        fresh = [path for path in dict.fromkeys(paths.values()) if path not in written]
        moved = self._make(fresh, set_aside)
        for path in fresh:
            if path not in known:
                known[path] = records.add_directory(connection, path, now)
        self._keys |= {each: known[path] for each, path in paths.items()}
        return moved

    def restore(self, connection: Connection, output_dirs: Iterable[str]) -> list[int]:
        """Makes folders of ours that somebody removed, and their markers, once more.

        Returns the keys of those folders, whose CSVs are gone with them.
        """
        resolved = self.lanes.run({e: partial(stored_path, self.home, e) for e in output_dirs})
        paths = set(_all(resolved).values())
        known = records.directory_keys(connection, paths)
        queue_id = self.home.queue_id()
        calls = {
            path: partial(self._restore, self.home.absolute(path), queue_id)
            for path in sorted(records.written(connection, known.values()))
        }
        return [known[path] for path, absent in _all(self.lanes.run(calls)).items() if absent]

    def make(self, paths: list[str]) -> None:
        """Makes and marks directories by their stored paths."""
        self._make(paths, set_aside=False)

    def remark(self, folders: Iterable[Path]) -> None:
        """Marks folders of ours anew: the queue has another id now."""
        queue_id = self.home.queue_id()
        calls = {str(each): partial(self._mark, each, queue_id) for each in folders}
        _all(self.lanes.run(calls))

    def _make(self, paths: list[str], set_aside: bool) -> list[str]:
        queue_id = self.home.queue_id()
        folders = {path: self.home.absolute(path) for path in paths}
        checks = {p: partial(_check, folder, queue_id, set_aside) for p, folder in folders.items()}
        _all(self.lanes.run(checks))
        makes = {p: partial(self._claim, folder, queue_id) for p, folder in folders.items()}
        _all(self.lanes.run(makes))
        if not set_aside:
            return []
        # Last, when nothing else can fail: a file that was moved is named to whoever asked.
        moves = {p: partial(_move_aside, self.disk, folder) for p, folder in folders.items()}
        moved = _all(self.lanes.run(moves))
        return [self.home.relative(target) for target in moved.values() if target is not None]

    def _claim(self, folder: Path, queue_id: str) -> None:
        """Makes and marks the directory, which also shows that it can be written."""
        if marker_of(folder) != queue_id:
            self._mark(folder, queue_id)
        elif not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "not writable by this user; change its permissions")

    def _restore(self, folder: Path, queue_id: str) -> bool:
        """Puts the folder and its marker back where they are missing; whether the folder was."""
        if _check_owner(folder, queue_id) == queue_id:
            return False
        _check_folder(folder)
        absent = not folder.is_dir()
        self._mark(folder, queue_id)
        return absent

    def _mark(self, folder: Path, queue_id: str) -> None:
        """Only what is there for good is marked: a marker says that its folder is."""
        self.disk.make_folders(folder, below=self.home.root.resolve())
        data = json.dumps({"format": 1, "queue": queue_id}) + "\n"
        self.disk.write_beside(folder / csv_file.MARKER, data.encode())


def _all(outcomes: Mapping[str, T | BaseException]) -> dict[str, T]:
    """The outcomes if all are good, else one error that names every directory."""
    problems = [
        f"{each}: {getattr(error, 'strerror', None) or error}"
        for each, error in outcomes.items()
        if isinstance(error, BaseException)
    ]
    if problems:
        raise DirectoryError("\n".join(problems))
    return {each: value for each, value in outcomes.items() if not isinstance(value, BaseException)}


def with_results(home: Home, output_dirs: Iterable[str], queue_id: str | None) -> list[str]:
    """Those that are marked as that queue's, or as any's if none is given, and have a CSV."""
    found = []
    for each in output_dirs:
        folder = home.root / each
        with suppress(DirectoryError, OSError):
            owner = marker_of(folder)
            if owner == (queue_id or owner) and owner and os.path.lexists(folder / csv_file.NAME):
                found.append(each)
    return found


def refuse_unclaimable(
    home: Home, output_dirs: Iterable[str], written: Container[str], *, set_aside: bool
) -> None:
    """Raises the `DirectoryError` that `claim` would raise; makes nothing.

    `written`: those that have a CSV of this queue's, by their stored paths.
    """
    queue_id = home.queue_id() if home.exists() else ""
    outcomes: dict[str, BaseException] = {}
    for each in output_dirs:
        try:
            if (path := stored_path(home, each)) not in written:
                folder = home.absolute(path)
                _check(folder, queue_id, set_aside)
                _check_can_be_made(folder)
        except (DirectoryError, OSError) as error:
            outcomes[each] = error
    _all(outcomes)


def _check_can_be_made(folder: Path) -> None:
    """Raises unless the nearest folder that is there can be written by this user."""
    there = _nearest(folder)
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"{there} is not writable by this user")


def check_left(folder: Path, queue_id: str | None) -> None:
    """Raises when the directory is another queue's, or holds a CSV and is nobody's."""
    owner = marker_of(folder)
    if queue_id is not None:
        _check_owner(folder, queue_id)
    file = folder / csv_file.NAME
    if owner is None and os.path.lexists(file) and not csv_file.has_own_header(file):
        raise DirectoryError(
            f"has a {csv_file.NAME} that sqlqueue did not write; it was not touched. Move it "
            "away, then run the same command again"
        )
    _check_folder(folder)


def _check(folder: Path, queue_id: str, set_aside: bool) -> None:
    """Raises when the directory is another queue's or holds a CSV of a person's."""
    owner = _check_owner(folder, queue_id)
    file = folder / csv_file.NAME
    if not set_aside and owner and csv_file.has_own_header(file):
        raise DirectoryError(
            f"has a {csv_file.NAME} of this queue of which the database knows nothing: is it "
            "older than that file? `sqlqueue recover FILES...` takes the rows in"
        )
    if not set_aside and os.path.lexists(file):
        raise DirectoryError(
            f"has a {csv_file.NAME} that this queue did not write; it was not touched. To take its "
            "rows in: `sqlqueue init --set-aside` with the same files moves it aside, then "
            "`sqlqueue import` with the name that it got adopts what fits. Or move it away"
        )
    _check_folder(folder)


def _check_owner(folder: Path, queue_id: str) -> str | None:
    """The id in the marker, if there is one; raises when it is another queue's."""
    owner = marker_of(folder)
    if owner is not None and owner != queue_id:
        raise DirectoryError(
            f"belongs to another queue (its {csv_file.MARKER} says {owner}); choose another "
            "output_dir, or remove that file if the other queue is gone"
        )
    return owner


def _check_folder(folder: Path) -> None:
    there = _nearest(folder)
    if there == folder and not there.is_dir():
        raise DirectoryError("is a file; an output_dir must be a folder")
    if not there.is_dir():
        raise DirectoryError(f"cannot be made: {there} is a file")


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(each for each in (folder, *folder.parents) if os.path.lexists(each))


def _move_aside(disk: Disk, folder: Path) -> Path | None:
    """Where the CSV of a person's was moved to; None when there is none."""
    file = folder / csv_file.NAME
    if not os.path.lexists(file):
        return None
    target = free_name(file)
    disk.set_aside(file, target)
    disk.fsync_dir(folder)
    return target


def marker_of(folder: Path) -> str | None:
    """The id of the queue that a directory belongs to; None when it has no marker."""
    try:
        return str(json.loads((folder / csv_file.MARKER).read_text())["queue"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DirectoryError(f"its {csv_file.MARKER} cannot be read ({error}); remove it") from None
