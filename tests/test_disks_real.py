"""Real disks that fill up, fail, stand still, become read-only or go away, under a real manager
and worker.

The pattern: a queue for two directories; one disk breaks; the tasks run.  What needs that disk
gets no ack and is kept by the worker, the rest goes on; when the disk is well again everything
arrives with nobody's help: the same manager, the same worker, and `verify` is clean.
"""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from child_bench import MARK, marked
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
from tally import count
from worker_queue import Queue

from conftest import Audits
from sqlqueue.home import NAME, Home
from support import Cli, ManagerProcess, environment, wait_until

SECONDS = 45.0
SEEDS = [1, 2]
QUICK = "grace_seconds=2.0, lease_seconds=5.0"


@dataclass
class Site:
    """A root with the directories `ill` and `well`; disks are mounted before there is a queue."""

    root: Path
    audits: Audits
    disks: ExitStack
    mark: str
    queue: Queue = field(init=False)
    worker: subprocess.Popen[bytes] = field(init=False)
    before: int = 0

    @property
    def home(self) -> Path:
        return self.root / NAME

    @property
    def state(self) -> Path:
        return self.root / "state"

    def begin(self, rows: bool = True) -> None:
        """A queue whose tasks all run and wait; by default each CSV has a row already."""
        home = self.audits(Home(self.home))
        home.create()
        cli = Cli(self.root, environment(self.state, {MARK: self.mark}))
        self.queue = Queue(home, cli, ManagerProcess(home, cli, self.root / "manager.output"))
        self.queue.manager.start()
        self.before = int(rows)
        if rows:
            self.init(SEEDS[:1])
            self.queue.go()
            assert self.queue.work("cpu=True, slots=2") == 0
            (self.root / "go").unlink()
        self.init(SEEDS)
        left = len(SEEDS) - self.before
        self.worker = self.queue.worker(f"cpu=True, slots={2 * left}, {QUICK}")
        wait_until(lambda: len(list(self.root.glob("started-*"))) == 2 * len(SEEDS), SECONDS)

    def init(self, seeds: list[int]) -> None:
        phases = {
            name: {
                "experiment": "misbehaving:gated",
                "output_dir": f"{name}/results",
                "combinations": [{"seed": seeds}, {"where": [name]}],
            }
            for name in ("ill", "well")
        }
        (self.root / "sweep.yaml").write_text(json.dumps(phases))
        self.queue.cli.ok("init", "sweep.yaml")

    def rows(self, name: str) -> int:
        path = self.root / name / "results" / "final_results.csv"
        try:
            with path.open() as file:
                return len(list(csv.DictReader(file)))
        except OSError:
            return 0

    def acked(self, name: str) -> int:
        """A row may stand in a CSV before it is real, until it is cut off: the database tells."""
        outcomes = [(task, outcome) for task, _, outcome in self.queue.attempts()]
        return sum(task.startswith(name) and how == "COMPLETED" for task, how in outcomes)

    def kept(self) -> list[Path]:
        """Results of `ill` that are kept as files, wherever that is."""
        return sorted(self.root.glob("**/ill_*.json")) + sorted(self.home.glob("**/ill_*.json"))

    def trouble(self, name: str) -> str | None:
        """What `status` says of the directory."""
        found = {each["output_dir"]: each for each in self.queue.status()["directories"]}
        told = found[f"{name}/results"]["trouble"]
        return None if told is None else str(told)

    def arrives(self, name: str) -> None:
        wait_until(lambda: self.rows(name) == len(SEEDS), SECONDS, f"{name}\n{self.said}")

    def says(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.said.count(text) >= times, SECONDS, f"{text!r} in\n{self.said}")

    @property
    def said(self) -> str:
        return f"{self.queue.said}\n-- manager\n{self.queue.manager.said}"

    def end(self) -> None:
        self.queue.end()
        if self.queue.manager.process is not None:
            self.queue.manager.stop()


@pytest.fixture
def site(tmp_path: Path, audit_on_exit: Audits) -> Iterator[Site]:
    with ExitStack() as disks:
        made = Site(tmp_path, audit_on_exit, disks, f"disk-{tmp_path.name}")
        try:
            yield made
        finally:
            made.end()
        wait_until(lambda: not marked(made.mark), SECONDS, "the end of all that was started")
        audit_on_exit.run()
        audit_on_exit.homes.clear()  # they are about to be unmounted


def works(site: Site, broken: Callable[[], Any], cured: Callable[[], Any], *, well: bool) -> None:
    """The pattern.  `well`: the other directory must go on meanwhile."""
    broken()
    site.queue.go()
    if well:
        site.arrives("well")
    site.says("Saved locally", (len(SEEDS) - site.before) * (1 if well else 2))
    assert site.acked("ill") == site.before, site.said
    assert site.worker.poll() is None, site.said
    cured()
    site.arrives("ill")
    site.arrives("well")
    assert site.worker.wait(SECONDS) == 0, site.said
    assert site.kept() == [], site.said
    totals = site.queue.status()["totals"]
    assert totals["completed"] == 2 * len(SEEDS), totals
    assert {outcome for *_, outcome in site.queue.attempts()} == {"COMPLETED"}
    assert "Traceback" not in site.said
    count("recoveries")


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
