"""Real small filesystems: made, filled, made read-only, taken away; for tests that run as root.

Promises: whatever is mounted here is unmounted when the `with` ends, in the reverse order, also
when something still holds it.  What is not here: what becomes of a queue on them.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from needs import need

FILLER = ".filler"


def need_root(what: str) -> None:
    """Also that mounting is allowed: a container's root may not."""
    need(os.geteuid() == 0 and shutil.which("mount") is not None, f"root, to {what}")


def command(*arguments: str | Path) -> None:
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"


@contextmanager
def tmpfs(path: Path, size: str, inodes: int = 0) -> Iterator[Path]:
    """A filesystem in memory that holds so much."""
    need_root("mount a small filesystem")
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={size},mode=0755" + (f",nr_inodes={inodes}" if inodes else "")
    command("mount", "-t", "tmpfs", "-o", options, "tmpfs", path)
    try:
        yield path
    finally:
        unmount(path)


@contextmanager
def ext4(path: Path, image: Path) -> Iterator[Path]:
    """A small disk in a file: it fails when there is no room for the file any more, and stands
    still when it is told to (`freeze`)."""
    need_root("mount a file as a disk")
    # With a journal: without one a sync succeeds there also when the bytes found no room.
    need(Path("/dev/loop-control").exists(), "loop devices")
    path.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(16 << 20)
    command("mkfs.ext4", "-q", "-b", "4096", "-E", "lazy_itable_init=0", image)
    mount_image(image, path)
    try:
        yield path
    finally:
        unmount(path)


def mount_image(image: Path, path: Path) -> None:
    command("mount", "-o", "loop,errors=continue", image, path)


def freeze(path: Path) -> None:
    """Whoever writes there waits in the kernel, and no signal ends that, until `thaw`."""
    command("fsfreeze", "--freeze", path)


def thaw(path: Path) -> None:
    """Harmless when it is not frozen."""
    subprocess.run(["fsfreeze", "--unfreeze", path], capture_output=True, check=False)


def unmount(path: Path) -> None:
    """Also while it is in use; nothing when it is not mounted."""
    subprocess.run(["umount", "-l", path], capture_output=True, check=False)


def remount(path: Path, how: str) -> None:
    command("mount", "-o", f"remount,{how}", path)


def fill(folder: Path) -> None:
    """Until not one byte more fits, on filesystems that count bytes or blocks."""
    with (folder / FILLER).open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 64, 1):
            with suppress(_Full):
                while True:
                    _write(file.fileno(), b"x" * size)


def fill_inodes(folder: Path) -> None:
    """Until no file more can be made."""
    with suppress(OSError):
        for number in range(100_000):
            (folder / f"{FILLER}-{number}").touch()


def empty(folder: Path) -> None:
    """Takes away what `fill` and `fill_inodes` made."""
    for path in folder.glob(f"{FILLER}*"):
        path.unlink()


class _Full(Exception):
    pass


def _write(fd: int, data: bytes) -> None:
    try:
        os.write(fd, data)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _Full from None
