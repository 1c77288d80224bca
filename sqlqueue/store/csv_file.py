"""One `final_results.csv` on disk, and the record that says what it is.

Promises: an append happens only to the very file that the record describes, and is synced
when it returns; nothing here removes a byte that the record or the caller does not name.
What is not here: the database, several directories, what the rows say.

The checksum is CRC-32 and Adler-32 of the content, 64 bits in all: both continue from their
last value, so that a record costs the same however long the file is.
"""

from __future__ import annotations

import enum
import errno
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlqueue.disk import Disk
from sqlqueue.home import OUTPUT_MARKER
from sqlqueue.plan.rows import line
from sqlqueue.plan.task import OWN_COLUMNS

NAME: Final = "final_results.csv"
NEW_NAME: Final = ".final_results.csv.new"
MARKER: Final = OUTPUT_MARKER
EMPTY: Final = "0000000000000001"
"""The checksum of no bytes."""

_CHUNK: Final = 1 << 20
_SAFE: Final = os.O_NONBLOCK | os.O_NOCTTY  # a pipe or a device under that name must not hang


_GONE: Final = "its folder is gone; `sqlqueue verify --repair`, or `init`, makes it again"


class NotAsRecorded(Exception):
    """The file is not, or not certainly, what the record says."""


class SharedFile(NotAsRecorded):
    """The file has a second name, in whose place nothing of ours is to be written."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the CSV is: `columns` None before it was first written.

    `look`: device, inode, size and times when it was last synced; the cheap check.
    `next_*`: length and checksum of a rewrite that may have taken its place.
    """

    columns: tuple[str, ...] | None = None
    row_count: int = 0
    length_bytes: int = 0
    checksum: str = EMPTY
    look: str = ""
    next_length_bytes: int | None = None
    next_checksum: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """An append that no commit stands for yet."""

    path: Path
    length_before: int
    look: str
    data: bytes


class Kind(enum.Enum):
    """What stands where the CSV belongs."""

    ABSENT = "absent"
    EXACT = "exactly what is recorded"
    LONGER = "what is recorded, and something after it"
    INTENDED = "what a rewrite was about to put there"
    FOREIGN = "something else"


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, and how many of its first bytes are ours."""

    kind: Kind
    own_bytes: int = 0
    look: str = ""


def extend(checksum: str, data: bytes) -> str:
    """The checksum of what `checksum` stood for with `data` after it."""
    crc = zlib.crc32(data, int(checksum[:8] or "0", 16))
    adler = zlib.adler32(data, int(checksum[8:] or "1", 16))
    return f"{crc:08x}{adler:08x}"


def look_of(status: os.stat_result) -> str:
    """How a file looks from outside; two different files never look the same."""
    parts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return ":".join(map(str, parts))


def same_file(look: str, other: str) -> bool:
    """Whether both are looks of one file, whatever happened to it in between."""
    return look.split(":")[:2] == other.split(":")[:2]


@contextmanager
def opened(disk: Disk, path: Path, flags: int) -> Iterator[int]:
    """An ordinary file, or `NotAsRecorded` when the name means something else."""
    try:
        fd = disk.open(path, flags | _SAFE)
    except FileNotFoundError:
        if path.parent.is_dir():
            raise NotAsRecorded(f"{path} is gone") from None
        raise FileNotFoundError(errno.ENOENT, _GONE) from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise NotAsRecorded(f"{path} is not an ordinary file") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NotAsRecorded(f"{path} is not an ordinary file")
        yield fd
    finally:
        os.close(fd)


def append(disk: Disk, path: Path, record: Record, data: bytes, rows: int) -> Record:
    """Appends and syncs; returns what the file then is.

    Opened anew each time: a descriptor kept open would go on writing into a file that an
    editor has long replaced.
    """
    with opened(disk, path, os.O_WRONLY | os.O_APPEND) as fd:
        if look_of(os.fstat(fd)) != record.look:
            raise NotAsRecorded(f"{path} was changed from outside")
        if os.fstat(fd).st_nlink > 1:
            raise SharedFile(f"{path} has a second name")
        disk.append(fd, data)
        disk.fsync(fd)
        status = os.fstat(fd)
    length = record.length_bytes + len(data)
    if status.st_size != length:
        raise NotAsRecorded(f"{path} was written to from outside")
    return replace(
        record,
        row_count=record.row_count + rows,
        length_bytes=length,
        checksum=extend(record.checksum, data),
        look=look_of(status),
    )


def cut(disk: Disk, path: Path, length_bytes: int, expected_look: str) -> str:
    """Cuts the file that looks so back to that length, synced; returns how it then looks."""
    with opened(disk, path, os.O_WRONLY) as fd:
        if look_of(os.fstat(fd)) != expected_look:
            raise NotAsRecorded(f"{path} was changed from outside")
        if os.fstat(fd).st_size > length_bytes:
            disk.truncate(fd, length_bytes)
        disk.fsync(fd)
        return look_of(os.fstat(fd))


def inspect(disk: Disk, path: Path, record: Record) -> Found:
    """Reads the whole file and says what it is.  Raises `OSError` when it cannot be read."""
    try:
        with opened(disk, path, os.O_RDONLY) as fd:
            return _classify(fd, record)
    except NotAsRecorded:
        return Found(Kind.FOREIGN if os.path.lexists(path) else Kind.ABSENT)


def _classify(fd: int, record: Record) -> Found:
    status = os.fstat(fd)
    look, size = look_of(status), status.st_size
    if record.columns is not None and _begins_with(fd, record.length_bytes, record.checksum):
        kind = Kind.EXACT if size == record.length_bytes else Kind.LONGER
        return Found(kind, record.length_bytes, look)
    length, checksum = record.next_length_bytes, record.next_checksum
    if length is not None and checksum is not None and _begins_with(fd, length, checksum):
        return Found(Kind.INTENDED, length, look)
    if checksum is not None and look == record.look:
        return Found(Kind.INTENDED, size, look)  # an earlier rewrite's, about to be replaced
    return Found(Kind.FOREIGN, 0, look)


def _begins_with(fd: int, length_bytes: int, checksum: str) -> bool:
    """Whether the first `length_bytes` of the file have that checksum."""
    if os.fstat(fd).st_size < length_bytes:
        return False
    found, position = EMPTY, 0
    while position < length_bytes:
        data = os.pread(fd, min(_CHUNK, length_bytes - position), position)
        if not data:
            return False
        found, position = extend(found, data), position + len(data)
    return found == checksum


def tail(path: Path, start: int, limit_bytes: int) -> bytes:
    """At most `limit_bytes` of the file from `start` on."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(limit_bytes)


def write_new(
    disk: Disk, folder: Path, lines: Iterable[bytes], epoch: int = 0
) -> tuple[Path, int, str]:
    """Writes and syncs the file that is to take the CSV's place, beside it.

    Returns its path, length and checksum.  It gets the permissions of the file it replaces.
    No two managers write under one name: one that was taken over must not find another's.
    """
    path = folder / f"{NEW_NAME}-{epoch}"
    with suppress(FileNotFoundError):
        disk.unlink(path)
    try:
        return path, *_write_new(disk, path, lines)
    except OSError:
        with suppress(OSError):  # what was written of it is room that a full disk has not got
            disk.unlink(path)
        raise


def _write_new(disk: Disk, path: Path, lines: Iterable[bytes]) -> tuple[int, str]:
    length, checksum = 0, EMPTY
    fd = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
    try:
        for block in _blocks(lines):
            disk.append(fd, block)
            length, checksum = length + len(block), extend(checksum, block)
        with suppress(OSError):
            os.fchmod(fd, stat.S_IMODE(disk.stat(path.with_name(NAME)).st_mode))
        disk.fsync(fd)
    finally:
        os.close(fd)
    return length, checksum


def _blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines joined into writes of about one chunk each."""
    waiting, size = [], 0
    for each in lines:
        waiting.append(each)
        size += len(each)
        if size >= _CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def has_own_header(path: Path) -> bool:
    """Whether an ordinary file is there that begins as a CSV of ours does."""
    own = line(OWN_COLUMNS)[:-1]
    try:
        with opened(Disk(), path, os.O_RDONLY) as fd:
            return os.pread(fd, len(own), 0) == own
    except (OSError, NotAsRecorded):
        return False


def look_at(disk: Disk, path: Path) -> str:
    """How the file under that name looks now; empty when there is none."""
    try:
        return look_of(disk.stat(path))
    except FileNotFoundError:
        return ""


def look_first(disk: Disk, path: Path) -> str:
    """The same at the start, when what a death left of an unfinished rewrite is removed."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path.parent) as entries:
        for each in entries:
            if each.name.startswith(NEW_NAME):
                disk.unlink(Path(each.path))
    return look_at(disk, path)
