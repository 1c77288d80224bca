"""Directories that cannot be written for a while: away, forbidden, full.

The other directory goes on meanwhile; when the cause is gone everything arrives by itself.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash_proof import Workshop, agrees, workshop
from crash_scenarios import MAIN, Room, cells, opened, prepare, result, rows, submit
from faults import Tell, in_a_child

from sqlqueue.disk import Disk
from sqlqueue.protocol import Ack, Error

NOBODY = 65534


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        yield made


@pytest.fixture
def room(shop: Workshop) -> Room:
    return shop.room(MAIN[2])[0]


def gone(room: Room) -> None:
    (room.root / "a").rename(room.root / "away")


def back(room: Room) -> None:
    shutil.rmtree(room.root / "a", ignore_errors=True)
    (room.root / "away").rename(room.root / "a")


def a_file_instead(room: Room) -> None:
    gone(room)
    (room.root / "a").write_bytes(b"")


def a_file_no_more(room: Room) -> None:
    (room.root / "a").unlink()
    back(room)


@pytest.mark.parametrize("live", [True, False], ids=["running", "none runs"])
@pytest.mark.parametrize("away, again", [(gone, back), (a_file_instead, a_file_no_more)])
def test_a_directory_that_is_away_comes_back(
    room: Room, live: bool, away: Callable[[Room], None], again: Callable[[Room], None]
) -> None:
    if not live:
        away(room)
    with opened(room.home) as desk:
        if live:
            away(room)
        assert submit(desk, 2, 3, 4) == [Error, Ack, Error]
        desk.later()
        assert submit(desk, 2) == [Error]
        again(room)
        desk.later()
        assert submit(desk, 2, 3, 4) == [Ack, Ack, Ack]
    agrees(room, rows(0, 1, 2, 3, 4, 5), [])


@pytest.mark.parametrize("live", [True, False], ids=["running", "none runs"])
def test_nothing_is_put_where_a_disk_is_not_mounted(room: Room, live: bool) -> None:
    """File and marker are both gone: what is there may be the folder below a mount."""
    with opened(room.home) as desk:
        gone(room)
        (room.root / "a").mkdir()
        if not live:
            desk.committer.close()
            desk.committer.open()
        assert submit(desk, 2, 3) == [Error, Ack]
        desk.later()
        (why,) = desk.committer.outputs.trouble().values()
        assert "is a disk not mounted?" in why
        assert list((room.root / "a").iterdir()) == []
        back(room)
        desk.later()
        assert submit(desk, 2) == [Ack]
    agrees(room, rows(0, 1, 2, 3, 5), [])


def as_nobody(room: Room, work: Callable[[Tell], None]) -> None:
    """Does the work as a user for whom permissions count."""

    def run(tell: Tell) -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        work(tell)

    if os.geteuid() == 0:
        room.root.parent.chmod(0o755)
        for each in [room.root, *room.root.rglob("*")]:
            os.chown(each, NOBODY, NOBODY, follow_symlinks=False)
    in_a_child(run)


def read_only_file(room: Room, on: bool) -> None:
    room.csv("a").chmod(0o444 if on else 0o644)


def read_only_folder(room: Room, on: bool) -> None:
    (room.root / "a").chmod(0o555 if on else 0o755)


def closed_folder(room: Room, on: bool) -> None:
    (room.root / "a").chmod(0o000 if on else 0o755)


@pytest.mark.parametrize("forbid", [read_only_file, read_only_folder, closed_folder])
def test_what_may_not_be_written_waits_until_it_may(
    room: Room, forbid: Callable[[Room, bool], None]
) -> None:
    def work(_tell: Tell) -> None:
        with opened(room.home) as desk:
            forbid(room, True)
            assert submit(desk, 2, 3, new=1.0) == [Error, Ack]
            desk.later()
            forbid(room, False)
            desk.later()
            assert submit(desk, 2, 3, 4, new=1.0) == [Ack, Ack, Ack]

    as_nobody(room, work)
    agrees(room, rows(2, 3, 4), [])


def test_a_read_only_file_is_told_and_waits(room: Room) -> None:
    def work(_tell: Tell) -> None:
        with opened(room.home) as desk:
            read_only_file(room, True)
            first, second = desk.say(result(2), result(3))
            assert isinstance(first, Error)
            assert "Permission denied" in first.message
            assert isinstance(second, Ack)
            read_only_file(room, False)
            desk.later()
            assert submit(desk, 2) == [Ack]

    as_nobody(room, work)
    agrees(room, rows(2, 3), [])


# --- a full disk --------------------------------------------------------------------------


class Full(Disk):
    """A disk with so much space for what is appended: the rest of a write does not fit."""

    def __init__(self, folder: Path, left_bytes: int) -> None:
        self.folder = folder
        self.left_bytes = left_bytes

    def append(self, fd: int, data: bytes) -> None:
        here = Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(self.folder)
        if here and len(data) > self.left_bytes:
            super().append(fd, data[: self.left_bytes])
            self.left_bytes = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left_bytes -= len(data) if here else 0
        super().append(fd, data)


def small_filesystem(folder: Path) -> bool:
    """Mounts a filesystem of 64 KiB there; False where this user may not."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("metrics", [{}, {"new": 1.0}], ids=["a row", "a new metric"])
def test_a_full_disk(room: Room, metrics: dict[str, float]) -> None:
    folder = room.root / "small"
    mounted = small_filesystem(folder)
    try:
        fills_up(room, Disk() if mounted else Full(folder, 60_000), metrics)
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fills_up(room: Room, disk: Disk, metrics: dict[str, float]) -> None:
    ballast = room.root / "small" / "ballast"
    with opened(room.home, disk) as desk:
        desk.say(prepare("small"))
        desk.say(cells({cell: ["small"] for cell in range(5)}))
        assert submit(desk, 2) == [Ack]
        fill(ballast, disk)
        assert submit(desk, 4, 3, text="x" * 9000, **metrics) == [Error, Error]
        desk.later()
        assert submit(desk, 5) == [Ack]
        empty(ballast, disk)
        desk.later()
        assert submit(desk, 4, 3, text="x" * 9000, **metrics) == [Ack, Ack]
    agrees(room, rows(2, 3, 4, 5) | {(cell, "small") for cell in (0, 1, 2, 3, 4)}, [])


def fill(ballast: Path, disk: Disk) -> None:
    if isinstance(disk, Full):
        disk.left_bytes = 5000
        return
    free = shutil.disk_usage(ballast.parent).free
    ballast.write_bytes(b"0" * (free - 8192))


def empty(ballast: Path, disk: Disk) -> None:
    if isinstance(disk, Full):
        disk.left_bytes = 60_000
        return
    ballast.unlink()
