"""An output directory: is it there, ours, writable, and is its CSV as it was left.

A cheap look: times and size, not content (`sqlqueue verify` compares every row).  What is
not here: its filesystem.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlqueue import filesystems
from sqlqueue.doctor.finding import NOTE, PROBLEM, WARNING, Finding, kind
from sqlqueue.errors import DirectoryError, HomeError
from sqlqueue.figures import duration, plural
from sqlqueue.home import Home
from sqlqueue.unsubmitted import FOLDER

if TYPE_CHECKING:
    from sqlqueue.store.csv_file import Record

NAME: Final = "final_results.csv"
MARKER: Final = ".sqlqueue.json"

REPAIR: Final = "sqlqueue verify --repair --home {home}"
MARK: Final = "printf '%s\\n' {mark} > {marker}"

GONE = kind(
    "dir-missing", PROBLEM, "an output directory is gone",
    "its results are in the database alone, and new ones for it are not acked", command=REPAIR,
)  # fmt: skip
NO_FOLDER = kind(
    "dir-not-a-folder", PROBLEM, "an output directory is not a folder",
    "results for it are not acked", cure="move {about} away; `sqlqueue verify --repair` makes it",
)  # fmt: skip
FOREIGN = kind(
    "dir-foreign", PROBLEM, "an output directory belongs to another queue",
    "two queues would write one file",
    cure="find out which queue it is; if that one is gone, remove {about} and run `sqlqueue init`",
)  # fmt: skip
UNMARKED = kind(
    "dir-unmarked", WARNING, "the file that says whose an output directory is is missing or broken",
    "another queue may take the directory for its own", command=MARK,
)  # fmt: skip
NOT_WRITABLE = kind(
    "dir-not-writable", PROBLEM, "an output directory cannot be written by this user",
    "results for it are not acked; workers keep them", command="chmod u+rwx {about}",
)  # fmt: skip
NO_CSV = kind(
    "dir-no-csv", WARNING, "the CSV is gone",
    "its rows are in the database alone until it is written anew", command=REPAIR,
)  # fmt: skip
NOT_A_FILE = kind(
    "dir-csv-not-a-file", WARNING, "the CSV is a symbolic link, or no file at all",
    "nothing is written through it: it is moved aside before the next row", command=REPAIR,
)  # fmt: skip
READ_ONLY = kind(
    "dir-csv-read-only", PROBLEM, "the CSV is read-only",
    "rows cannot be appended, so results for it are not acked", command="chmod u+w {about}",
)  # fmt: skip
CHANGED = kind(
    "dir-csv-changed", WARNING, "the CSV does not look as it was left",
    "somebody wrote or replaced it: before the next row it is compared, and what is not the "
    "queue's is moved aside", command=REPAIR,
)  # fmt: skip
SUSPENDED = kind(
    "dir-suspended", PROBLEM, "the manager cannot write there just now",
    "results for it are not acked; workers keep them",
    cure="mend what is said of it; the manager tries again by itself",
)  # fmt: skip
WAITING = kind(
    "results-waiting", WARNING, "results wait in files for a manager",
    "they are safe, but in no CSV yet",
    cure="`sqlqueue serve` takes them in; what a running one does not take it names in its log",
)  # fmt: skip
ASIDE = kind(
    "dir-set-aside", NOTE, "a file was moved aside and is still there",
    "somebody may miss what is in it",
    cure="compare it with the CSV beside it, then remove it or keep it elsewhere",
)  # fmt: skip


def check(home: Home, stored: str, record: Record | None) -> Iterator[Finding]:
    """Everything about one directory; `record`: what its CSV is, where that is known."""
    folder = home.absolute(stored)
    if not folder.is_dir():
        there = os.path.lexists(folder)
        yield NO_FOLDER.at(folder, "is no folder") if there else _gone(home, folder)
        return
    if not _owner_may(folder) or not (_may(folder) or filesystems.read_only(folder)):
        yield NOT_WRITABLE.at(folder, f"its mode is {_mode(folder):04o}, its owner {_user(folder)}")
    yield from _marker(home, folder)
    if record is not None and record.columns is not None:
        yield from _file(home, folder / NAME, record)
    yield from waiting(folder / FOLDER)


def _gone(home: Home, folder: Path) -> Finding:
    return GONE.at(folder, "no such folder", home=home.path)


def _may(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _owner_may(folder: Path) -> bool:
    """Permissions that do not hold root back are still meant."""
    return _mode(folder) & stat.S_IRWXU == stat.S_IRWXU or _user(folder) != os.geteuid()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _user(path: Path) -> int:
    return path.stat().st_uid


def _marker(home: Home, folder: Path) -> Iterator[Finding]:
    from sqlqueue.store.directories import marker_of

    marker, queue = folder / MARKER, queue_of(home)
    try:
        found, why = marker_of(folder), "no such file"
    except (DirectoryError, OSError):
        found, why = None, "cannot be read"
    if queue is None or found == queue:
        return
    if found is not None:
        yield FOREIGN.at(marker, f"it says {found[:40]}, this queue is {queue}")
    else:
        mark = f'{{"format": 1, "queue": "{queue}"}}'
        yield UNMARKED.at(folder, f"{MARKER}: {why}", mark=mark, marker=marker)


def queue_of(home: Home) -> str | None:
    """The id of the queue, where it can be told."""
    try:
        return home.queue_id()
    except (HomeError, RecursionError):
        return None


def _file(home: Home, file: Path, record: Record) -> Iterator[Finding]:
    from sqlqueue.store.csv_file import look_of

    try:
        found = file.lstat()
    except FileNotFoundError:
        yield NO_CSV.at(file, "no such file", home=home.path)
        return
    if not stat.S_ISREG(found.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no ordinary file"
        yield NOT_A_FILE.at(file, f"is {what}", home=home.path)
        return
    if not found.st_mode & stat.S_IWUSR:
        yield READ_ONLY.at(file, f"its mode is {stat.S_IMODE(found.st_mode):04o}")
    if look_of(found) != record.look:
        yield CHANGED.at(file, _difference(found, record), home=home.path)


def _difference(found: os.stat_result, record: Record) -> str:
    if found.st_size != record.length_bytes:
        return f"{found.st_size} bytes, {record.length_bytes} were written"
    return "as long as it was, but with other times, or another file under its name"


def waiting(folder: Path) -> Iterator[Finding]:
    """Results that no manager acked yet."""
    try:
        files = [each for each in folder.iterdir() if each.suffix == ".json"]
        oldest = min((each.lstat().st_mtime for each in files), default=0.0)
    except FileNotFoundError:
        return
    if files:
        age = duration(max(0.0, time.time() - oldest))
        yield WAITING.at(folder, f"{plural(len(files), 'result')}, the oldest since {age}")


def set_aside(home: Home, stored: str) -> Iterator[Finding]:
    """A file of somebody's that was moved, while it is there."""
    path = home.absolute(stored)
    if os.path.lexists(path):
        yield ASIDE.at(path, "nobody has moved it away yet")
