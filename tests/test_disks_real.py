"""Real disks that fill up, fail, stand still, become read-only or go away, under a real manager
and worker."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from child_bench import marked
from disk_site import SECONDS, Site, site, works
from small_disks import (
    command,
    empty,
    ext4,
    fill,
    fill_inodes,
    freeze,
    mount_image,
    remount,
    thaw,
    tmpfs,
    unmount,
)

from sqlqueue.home import NAME
from support import wait_until

__all__ = ["site"]


@pytest.mark.crash
def test_an_output_directory_that_is_full(site: Site) -> None:
    disk = site.disks.enter_context(tmpfs(site.root / "ill", "64k"))
    site.begin()
    works(site, lambda: fill(disk), lambda: empty(disk), well=True)


@pytest.mark.crash
def test_an_output_directory_out_of_inodes(site: Site) -> None:
    """The first row needs a new file, and so does a result that is kept beside it."""
    disk = site.disks.enter_context(tmpfs(site.root / "ill", "1m", inodes=10))
    site.begin(rows=False)
    works(site, lambda: fill_inodes(disk), lambda: empty(disk), well=True)


@pytest.mark.crash
def test_an_output_directory_that_is_read_only(site: Site) -> None:
    disk = site.disks.enter_context(tmpfs(site.root / "ill", "1m"))
    site.begin()
    works(site, lambda: remount(disk, "ro"), lambda: remount(disk, "rw"), well=True)


@pytest.mark.crash
def test_an_output_directory_that_was_renamed(site: Site) -> None:
    site.begin()
    folder, away = site.root / "ill" / "results", site.root / "ill" / "away"

    def back() -> None:
        assert not folder.exists(), site.said
        away.rename(folder)

    works(site, lambda: folder.rename(away), back, well=True)


@pytest.mark.crash
def test_a_home_that_is_full(site: Site) -> None:
    """Database, logs and attempts have no room; what was measured is kept elsewhere."""
    disk = site.disks.enter_context(tmpfs(site.home, "4m"))
    site.begin()
    works(site, lambda: fill(disk), lambda: empty(disk), well=False)


@pytest.mark.crash
def test_primary_directory_and_home_are_full(site: Site) -> None:
    """The state folder of the user keeps what is measured."""
    disks = [site.disks.enter_context(tmpfs(site.root / "ill", "64k"))]
    disks.append(site.disks.enter_context(tmpfs(site.home, "4m")))
    site.begin()
    works(site, lambda: each(fill, disks), lambda: each(empty, disks), well=False)


def test_nothing_takes_anything(site: Site) -> None:
    """The worker holds the result in memory, says so, and hands it in."""
    names = {"ill": "64k", "well": "64k", NAME: "4m", "state": "64k"}
    disks = [site.disks.enter_context(tmpfs(site.root / n, size)) for n, size in names.items()]
    site.begin()
    each(fill, disks)
    site.queue.go()
    site.says("make room before you stop it", 2)
    assert site.worker.poll() is None
    assert site.acked("ill") + site.acked("well") == 2 * site.before
    each(empty, disks)
    site.arrives("ill")
    site.arrives("well")
    assert site.worker.wait(SECONDS) == 0, site.said
    assert {outcome for *_, outcome in site.queue.attempts()} == {"COMPLETED"}


def each(act: Callable[[Path], None], disks: list[Path]) -> None:
    for disk in disks:
        act(disk)


@pytest.mark.crash
def test_an_output_directory_that_is_unmounted(site: Site) -> None:
    """What is below the mount is no place for rows, and the mount comes back as it was."""
    store = site.root / "elsewhere"
    disk = site.disks.enter_context(tmpfs(site.root / "ill" / "results", "1m"))
    store.mkdir()
    site.disks.callback(unmount, store)
    site.begin()

    def back() -> None:
        assert not list(disk.iterdir()), site.said
        moved(store, disk)

    works(site, lambda: moved(disk, store), back, well=True)
    assert "is a disk not mounted?" in site.queue.manager.said
    assert not list(disk.glob("*.set-aside-*"))


@pytest.mark.crash
def test_an_output_directory_whose_disk_fails_at_the_sync(site: Site) -> None:
    """What was written is in the cache alone, and the filesystem gives itself up."""
    store = site.disks.enter_context(tmpfs(site.root / "store", "4m"))
    disk = site.disks.enter_context(ext4(site.root / "ill", store / "image"))
    site.begin()

    def mended() -> None:
        empty(store)
        command("umount", disk)
        mount_image(store / "image", disk)

    works(site, lambda: fill(store), mended, well=True)


@contextmanager
def standing_still(disk: Path) -> Iterator[None]:
    """For as long as the block runs, and no longer than a minute, or a failure would hang."""
    timer = threading.Timer(60.0, thaw, [disk])
    timer.start()
    freeze(disk)
    try:
        yield
    finally:
        thaw(disk)
        timer.cancel()


@pytest.mark.crash
def test_an_output_directory_whose_disk_stands_still(site: Site) -> None:
    """What waits is told from the beginning; then the others go on, and the result is kept."""
    store = site.disks.enter_context(tmpfs(site.root / "store", "20m"))
    disk = site.disks.enter_context(ext4(site.root / "ill", store / "image"))
    site.begin()
    with standing_still(disk):
        site.queue.go()
        wait_until(lambda: "no answer from the disk" in str(site.trouble("ill")), SECONDS)
        site.arrives("well")
        site.says("Saved locally")
        assert "no answer from the disk" in str(site.trouble("ill"))
        assert site.trouble("well") is None
        assert site.acked("ill") == site.before, site.said
    site.arrives("ill")
    assert site.worker.wait(SECONDS) == 0, site.said
    # What was given up on was written after all; the manager takes in what it has already.
    wait_until(lambda: site.kept() == [], SECONDS, site.said)
    assert {outcome for *_, outcome in site.queue.attempts()} == {"COMPLETED"}


@pytest.mark.crash
def test_a_home_whose_disk_stands_still(site: Site) -> None:
    """Nothing is acked, and `status` says why, in finite time and without touching the disk."""
    store = site.disks.enter_context(tmpfs(site.root / "store", "20m"))
    disk = site.disks.enter_context(ext4(site.home, store / "image"))
    site.begin()
    with standing_still(disk):
        site.queue.go()
        said = site.queue.cli("status", seconds=55.0)
        assert said.returncode != 0
        assert "does the disk of the home not answer?" in said.stderr
        assert site.said.count("Result saved") == 2 * site.before
    site.arrives("ill")
    site.arrives("well")
    assert site.worker.wait(SECONDS) == 0, site.said
    assert {outcome for *_, outcome in site.queue.attempts()} == {"COMPLETED"}


def moved(source: Path, target: Path) -> None:
    command("mount", "--bind", source, target)
    unmount(source)


@pytest.mark.crash
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_while_the_disks_are_full(site: Site, number: signal.Signals) -> None:
    """Worker and manager leave in good order, and what is kept is handed in by the next."""
    disks = [site.disks.enter_context(tmpfs(site.root / "ill", "64k"))]
    disks.append(site.disks.enter_context(tmpfs(site.home, "4m")))
    site.begin()
    each(fill, disks)
    site.queue.go()
    site.says("Saved locally", 2)
    site.worker.send_signal(number)
    assert site.worker.wait(SECONDS) == 128 + number, site.said
    process = site.queue.manager._running()
    wait_until(lambda: marked(site.mark) == [process.pid], SECONDS)
    process.send_signal(number)
    assert process.wait(SECONDS) == 0, site.said
    assert "Traceback" not in site.said
    each(empty, disks)
    site.queue.manager.start()
    assert site.queue.work() == 0, site.said
    site.arrives("ill")
    assert {outcome for *_, outcome in site.queue.attempts()} == {"COMPLETED"}
