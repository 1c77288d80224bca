"""The few disk calls that results depend on: the seam where tests inject faults.

Promises: a call returns only when the whole of it was done; it raises `OSError`
otherwise and the outcome is then unknown.  What is not here: any policy.  SQLite does
its own disk calls; everything else that must survive goes through a `Disk`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 1 << 20


class Disk:
    """Real disk calls.  Tests hand in a subclass that fails, dies or forgets at the N-th."""

    def open(self, path: Path, flags: int, mode: int = 0o666) -> int:
        """Opens close-on-exec, never follows a symbolic link at the last component."""
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)

    def append(self, fd: int, data: bytes) -> None:
        """Writes all of `data` at the end of a descriptor opened with O_APPEND."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]

    def truncate(self, fd: int, length_bytes: int) -> None:
        os.ftruncate(fd, length_bytes)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def fsync_dir(self, path: Path) -> None:
        """Makes the entries of a folder (created, renamed, removed names) durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def set_aside(self, source: Path, target: Path) -> None:
        """Renames without ever replacing: raises `FileExistsError` if `target` is there.

        A hard link, made durable, then the old name goes: a crash between the two leaves the
        bytes under both names, and what somebody puts under the old name in between stays there.
        Where the filesystem has no hard links, a rename after a look.
        """
        if _is_linked(source, target):
            self.fsync_dir(target.parent)
            _drop_name(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def make_folder(self, path: Path, mode: int = 0o777) -> None:
        path.mkdir(mode)

    def remove_tree(self, path: Path) -> None:
        """Removes a folder and what is in it."""
        shutil.rmtree(path)

    def stat(self, path: Path) -> os.stat_result:
        """Of the name itself, not of what a symbolic link points to."""
        return os.stat(path, follow_symlinks=False)

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def write_beside(self, path: Path, data: bytes, mode: int = 0o666) -> None:
        """Replaces `path` by `data` durably: afterwards it is the old file or the new one.

        Written beside under a temporary name, synced, renamed, folder synced.
        """
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with contextlib.suppress(FileNotFoundError):
            self.unlink(temporary)
        try:
            self.write(temporary, data, mode)
            self.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):  # it is room that a full disk has not got
                self.unlink(temporary)
            raise
        self.fsync_dir(path.parent)

    def write(self, path: Path, data: bytes, mode: int = 0o666) -> None:
        """Makes a file that is not there yet and syncs its content; not its name."""
        fd = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, mode)
        try:
            self.append(fd, data)
            self.fsync(fd)
        finally:
            os.close(fd)

    def write_again(self, path: Path) -> None:
        """Writes what is read from a file into it once more, and syncs it.

        A sync that failed may have left content in memory that the next one takes for durable.
        Every byte stays as it is throughout, so that others may go on reading.
        """
        fd = self.open(path, os.O_RDWR)
        try:
            position = 0
            while data := os.pread(fd, _CHUNK_BYTES, position):
                while data:
                    done = os.pwrite(fd, data, position)
                    data, position = data[done:], position + done
            self.fsync(fd)
        finally:
            os.close(fd)

    def note(self, path: Path, data: bytes) -> None:
        """Writes over the beginning of a file of ours, unsynced: it outlives this process, and
        perhaps not a loss of power."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.pwrite(fd, data, 0)
        finally:
            os.close(fd)

    def make_folders(self, path: Path, mode: int = 0o777, below: Path | None = None) -> None:
        """Makes the folder and what leads to it, each durable in the one above.

        Up to `below`, where the path leads through it, also those that are there are made
        durable: whoever made them may have died before that.
        """
        for each in reversed(list(_leading_to(path, below))):
            with contextlib.suppress(FileExistsError):
                self.make_folder(each, mode)
            self.fsync_dir(each.parent)


def _is_linked(source: Path, target: Path) -> bool:
    """Names a file `target`, and says whether it is `source` too still; or `FileExistsError`."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(target):
            raise FileExistsError(f"{target} exists") from None
        os.replace(source, target)
        return False
    return True


def _drop_name(source: Path, target: Path) -> None:
    """Takes the first name of a file that has both away, and nothing else's.

    Nobody can look and unlink in one; so it is renamed to what only we know, then looked at.
    """
    import secrets  # a tenth of what `--help` takes, and needed for a person's files alone

    found = target.with_name(f"{target.name}-{secrets.token_hex(4)}")
    with contextlib.suppress(FileNotFoundError):
        os.replace(source, found)
        if os.path.samestat(os.lstat(found), os.lstat(target)):
            os.unlink(found)
            return
        with contextlib.suppress(FileExistsError):  # then it stays, beside the other
            if _is_linked(found, source):
                os.unlink(found)


def _leading_to(path: Path, below: Path | None) -> Iterator[Path]:
    """The folders to make or to make durable, the last first."""
    yield path
    inside = below is not None and path.is_relative_to(below)
    for each in path.parents:
        if each == below or (not inside and each.is_dir()):
            return
        yield each
