"""The filesystem of a folder: what it is, what it does not do, how much room is left.

What is not here: the trying itself (`probe.py`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlqueue import filesystems
from sqlqueue.disk import Disk
from sqlqueue.doctor.finding import NOTE, PROBLEM, WARNING, Finding, kind
from sqlqueue.doctor.probe import Probe, probe

SLOW_SYNC_SECONDS: Final = 0.05
LEAST_FREE_BYTES: Final = 1 << 30
LEAST_SHARE: Final = 0.05
ENOUGH_FREE_BYTES: Final = 20 << 30
"""Five per cent of a large disk are no reason to warn."""
LEAST_INODES: Final = 1000
MOST_CLOCK_SECONDS: Final = 2.0
LEAST_NAME_BYTES: Final = 230
MOUNTS: Final = Path("/proc/self/mounts")
IN_MEMORY: Final = frozenset(("tmpfs", "ramfs"))
FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))

ROOM = "make room there: `df -h {about}` says how much there is; results wait meanwhile"
MOVE = "keep the queue on a disk of this machine: choose another place with --home"

NETWORK = kind(
    "fs-network", NOTE, "the folder lies on a network or FUSE filesystem",
    "there SQLite's shared memory is unsafe, so the manager owns the database alone, and it is "
    "slower; results are as safe as that server's syncs",
    cure="nothing must be done; a home on a disk of the manager's host is faster",
)  # fmt: skip
IN_RAM = kind(
    "fs-memory", WARNING, "the folder lies in memory", "a reboot or a power cut empties it",
    cure="move it to a disk: choose another place with --home, or another output_dir",
)  # fmt: skip
OVERLAY = kind(
    "fs-overlay", WARNING, "the folder lies in the layer of a container",
    "it is gone with the container",
    cure="put it on a volume that outlives the container",
)  # fmt: skip
CANNOT_WRITE = kind(
    "fs-cannot-write", PROBLEM, "nothing can be written there",
    "nothing can be stored, so no result is acked",
    cure="give this user the right to write in {about}, or choose another place",
)  # fmt: skip
READ_ONLY = kind(
    "fs-read-only", PROBLEM, "the filesystem is mounted read-only",
    "nothing can be stored, so no result is acked; a disk that has errors is often made so",
    command="mount -o remount,rw {mount}",
)  # fmt: skip
NO_ROOM = kind(
    "fs-full", PROBLEM, "the disk is full, or the quota is used up",
    "results cannot be stored; workers keep theirs until there is room", cure=ROOM,
)  # fmt: skip
LITTLE_ROOM = kind(
    "fs-little-room", WARNING, "the disk is nearly full",
    "results can soon not be stored any more", cure=ROOM,
)  # fmt: skip
LITTLE_INODES = kind(
    "fs-few-inodes", WARNING, "the filesystem can hold few more files",
    "logs and waiting results are files of their own",
    cure="remove files that nobody needs: `df -i {about}` says how many it holds",
)  # fmt: skip
SYNC_FAILS = kind(
    "fs-sync-fails", PROBLEM, "a sync fails",
    "what is not synced may be gone after a power cut, so nothing is acked",
    cure="look at the system's log (`dmesg`): the disk may be dying; " + MOVE,
)  # fmt: skip
SYNC_SLOW = kind(
    "fs-sync-slow", NOTE, "a sync is slow",
    "each group of results waits for a few of them", cure="a local SSD is faster",
)  # fmt: skip
NO_LOCKS = kind(
    "fs-no-locks", PROBLEM, "file locks do not work",
    "nothing keeps two managers apart, and two would spoil the queue", cure=MOVE,
)  # fmt: skip
NO_REPLACE = kind(
    "fs-no-replace", PROBLEM, "a file cannot be replaced by a rename",
    "files could not be rewritten without a moment in which they are torn", cure=MOVE,
)  # fmt: skip
NO_LINKS = kind(
    "fs-no-links", NOTE, "hard links do not work",
    "moving a file of yours aside falls back to a look and a rename",
    cure="nothing must be done; do not create files in output directories meanwhile",
)  # fmt: skip
NO_SOCKETS = kind(
    "fs-no-sockets", NOTE, "Unix sockets do not work",
    "the manager puts its socket into a private folder under the temporary directory",
    cure="nothing must be done",
)  # fmt: skip
NO_CASE = kind(
    "fs-no-case", NOTE, "`Name` and `name` are one file",
    "two output directories that differ in case alone are one there",
    cure="give output directories names that differ in more than case",
)  # fmt: skip
SHORT_NAMES = kind(
    "fs-short-names", WARNING, "file names must be short",
    "a result of a task with a long id could not be kept as a file", cure=MOVE,
)  # fmt: skip
COARSE = kind(
    "fs-coarse-times", WARNING, "times of files are coarse",
    "an edit right after a write may not be noticed before the next `sqlqueue verify`",
    cure="do not edit a final_results.csv in place: copy it first; " + MOVE,
)  # fmt: skip
CLOCK = kind(
    "fs-clock", WARNING, "the filesystem's clock is not this machine's",
    "times of files and of the queue do not fit together; the queue itself does not rely on them",
    cure="set both clocks, for example with `chronyd` or `systemd-timesyncd`",
)  # fmt: skip
NO_DATABASE = kind(
    "fs-no-database", PROBLEM, "SQLite does not work there",
    "the queue is an SQLite database", cure=MOVE,
)  # fmt: skip


def check(folder: Path, disk: Disk | None = None, database: bool = False) -> Iterator[Finding]:
    """Everything about the filesystem of `folder`; `database`: one is to lie there."""
    yield from _type(folder)
    found = probe(folder, disk)
    yield from _written(folder, found)
    yield from _wrong(folder, found)
    if database and "folder" not in found.errors:
        yield from _database(folder)


def read_only(folder: Path) -> Iterator[Finding]:
    """Whether it is mounted so; two folders of one disk may differ in that."""
    if filesystems.read_only(folder):
        yield READ_ONLY.at(folder, "mounted read-only", mount=mount_point(folder))


def room(folder: Path) -> Iterator[Finding]:
    """Free space and free inodes for this user."""
    found = os.statvfs(folder)
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    if free < 65536 and total:
        yield NO_ROOM.at(folder, f"{free} bytes are free")
    elif free < LEAST_FREE_BYTES or free < min(LEAST_SHARE * total, ENOUGH_FREE_BYTES):
        yield LITTLE_ROOM.at(folder, f"{free >> 20} MiB of {total >> 20} MiB are free")
    if found.f_files and found.f_favail < LEAST_INODES:
        yield LITTLE_INODES.at(folder, f"{found.f_favail} of {found.f_files} inodes are free")


def mount_point(folder: Path) -> Path:
    """Where the filesystem of `folder` is mounted; a folder may be mounted on itself."""
    folder = folder.resolve()
    points = [os.fsdecode(_plain(line.split(b" ")[1])) for line in MOUNTS.read_bytes().splitlines()]
    return Path(max((each for each in points if folder.is_relative_to(each)), key=len, default="/"))


def _plain(point: bytes) -> bytes:
    """Without its escapes: a space stands there as an octal number."""
    return point.decode("unicode_escape").encode("latin-1")


def _type(folder: Path) -> Iterator[Finding]:

    name = filesystems.filesystem(folder)
    if filesystems.on_network(folder):
        yield NETWORK.at(folder, f"a filesystem of type {name}")
    if name in IN_MEMORY:
        yield IN_RAM.at(folder, f"a filesystem of type {name}")
    if name.startswith("overlay"):
        yield OVERLAY.at(folder, f"a filesystem of type {name}")


def _written(folder: Path, found: Probe) -> Iterator[Finding]:
    """The first error that is about writing as such; the others follow from it."""
    for step in ("folder", "write"):
        error = found.errors.get(step)
        if error is None:
            continue
        if error.errno in FULL:
            yield NO_ROOM.at(folder, f"writing 64 KiB fails: {_reason(error)}")
        elif error.errno != errno.EROFS:  # else `read_only` says so
            yield CANNOT_WRITE.at(folder, f"writing fails: {_reason(error)}")
        return


def _wrong(folder: Path, found: Probe) -> Iterator[Finding]:
    if "folder" in found.errors or "write" in found.errors:
        return
    errors = {name: _reason(error) for name, error in found.errors.items()}
    for step in ("sync", "sync folder"):
        if step in errors:
            yield SYNC_FAILS.at(folder, f"{step}: {errors[step]}")
    for step, failing in FAILING.items():
        if step in errors:
            yield failing.at(folder, errors[step])
    yield from _odd(folder, found)


FAILING: Final = {
    "lock": NO_LOCKS, "replace": NO_REPLACE, "link": NO_LINKS, "socket": NO_SOCKETS,
}  # fmt: skip


def _odd(folder: Path, found: Probe) -> Iterator[Finding]:
    """What was done without an error, but not as it should be."""
    saw = found.saw
    if (seconds := saw.get("sync", 0.0)) > SLOW_SYNC_SECONDS:
        yield SYNC_SLOW.at(folder, f"{seconds * 1000:.0f} ms, the median of a few")
    if (who := saw.get("lock", "nobody")) != "nobody":
        yield NO_LOCKS.at(folder, f"{who} takes a lock that is held")
    if saw.get("replace") is False:
        yield NO_REPLACE.at(folder, "the old file is still there after the rename")
    if saw.get("link") is False:
        yield NO_LINKS.at(folder, "a linked file does not count its names")
    if saw.get("case"):
        yield NO_CASE.at(folder, "`Name` is found as `name`")
    if (length := saw.get("name", 255)) < LEAST_NAME_BYTES:
        yield SHORT_NAMES.at(folder, f"names of at most {length} bytes")
    if saw.get("ticks") is False:
        yield COARSE.at(folder, "a file written again 30 ms later bears the same time")
    if abs(ahead := saw.get("clock", 0.0)) > MOST_CLOCK_SECONDS:
        yield CLOCK.at(folder, f"{abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}")


def _database(folder: Path) -> Iterator[Finding]:
    from sqlqueue.store import health

    if trouble := health.database_fails(folder):
        yield NO_DATABASE.at(folder, trouble)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
