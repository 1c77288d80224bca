"""Many short tasks for a long time: nothing is lost, and the manager grows by nothing.

Sixteen workers, each a process of its own; twenty directories, of which four lie on a small
filesystem that fills up in the middle and is freed again; workers and children killed at random;
the manager restarted twice a minute, by SIGTERM and SIGKILL in turn.  Its memory and descriptors
are looked at all the time; figures of the last lives are compared with those of the first.

`make soak` runs 50,000 tasks, `make soak SOAK_TASKS=5000` fewer.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from crew import Crew, Process, Threads
from ledger import CSV
from needs import need
from tally import count

from conftest import audit
from sqlqueue.home import Home
from support import Cli, wait_until

TASKS = int(os.environ.get("SOAK_TASKS", "1000"))
DIRECTORIES = 20
WORKERS, SLOTS = 16, 1
SMALL = range(4)
"""The directories on the small filesystem."""

RESTART_SECONDS = 30.0 if TASKS >= 10_000 else 8.0
WARM_SECONDS = RESTART_SECONDS / 3
FULL_SECONDS = RESTART_SECONDS * 0.8
MOST_GROWTH = 1.15
MOST_GROWTH_BYTES = 12 << 20
MOST_FDS = 20
"""What the last lives may have more than the first: descriptors differ by who is connected."""

EXPERIMENT = """
def measure(seed: int, group: int) -> dict:
    return {"value": seed / 3 + group}
"""


@dataclass(frozen=True)
class Sample:
    """The manager at one instant of one of its lives."""

    life: int
    seconds: float
    rss: int
    fds: int


@dataclass
class Soak:
    """`rows`: what each directory must hold at the end."""

    crew: Crew
    small: Path
    seed: int
    threads: Threads = field(default_factory=Threads)
    samples: list[Sample] = field(default_factory=list)
    lives: int = 0
    began: float = 0.0
    manager: Process | None = None

    @property
    def root(self) -> Path:
        return self.crew.home.root

    def begin(self) -> None:
        (self.root / "trial.py").write_text(EXPERIMENT)
        for number in SMALL:
            (self.small / str(number)).mkdir()
            (self.root / f"d{number}").symlink_to(self.small / str(number))
        seeds = list(range(TASKS // DIRECTORIES))
        phase = {"experiment": "trial:measure", "max_attempts": 1000}
        groups = {"group": list(range(DIRECTORIES))}
        sweep = {
            "all": {"output_dir": "d{group}", "combinations": [{"seed": seeds}, groups]},
            "shared": {"output_dir": "d5", "combinations": [{"seed": seeds[::5]}, groups]},
        }
        text = json.dumps({name: phase | each for name, each in sweep.items()})
        (self.root / "sweep.yaml").write_text(text)
        self.crew.cli.ok("init", "sweep.yaml", seconds=600.0)

    def run(self) -> None:
        self.began = time.monotonic()
        self.threads.start(self.live_and_die)
        self.crew.begin_workers(WORKERS, SLOTS)
        for each in (self.look, self.kill_workers, self.kill_children, self.fill_up):
            self.threads.start(each)
        while not self.is_done():
            self.threads.check()
            self.revive()
            self.threads.over.wait(2.0)
        self.threads.end()
        self.threads.check()

    def revive(self) -> None:
        """A worker that ended while there was nothing but what others hold is started again."""
        for number, each in enumerate(self.crew.workers):
            if each.poll() is not None and not self.is_done():
                self.crew.workers[number] = self.crew.worker()

    def is_done(self) -> bool:
        return self.completed() == TASKS

    def completed(self) -> int:
        base = sqlite3.connect(f"file:{self.crew.home.database}?mode=ro", uri=True, timeout=30.0)
        with closing(base):
            query = "SELECT count(*) FROM tasks WHERE state = 'COMPLETED'"
            (number,) = base.execute(query).fetchone()
        return int(number)

    # --- what goes on --------------------------------------------------------------------

    def live_and_die(self) -> None:
        """The manager, again and again: stopped and killed in turn."""
        while not self.threads.over.is_set():
            self.manager = self.crew.start("serve")
            assert self.crew.listens(self.manager, 60.0), self.crew.said()[-3000:]
            self.lives += 1
            self.pause(RESTART_SECONDS)
            if self.lives % 2 and self.manager.poll() is None:
                self.manager.terminate()
                assert self.manager.wait(60.0) == 0, self.crew.said()[-3000:]
            else:
                assert self.crew.kill(self.manager, "manager")
            count("restarts")

    def look(self) -> None:
        """A sample a second of the manager that lives."""
        life, since = 0, 0.0
        while not self.threads.over.is_set():
            if life != self.lives:
                life, since = self.lives, time.monotonic()
            with contextlib.suppress(psutil.Error):
                if self.manager is not None and life:
                    process = psutil.Process(self.manager.pid)
                    rss, fds = process.memory_info().rss, process.num_fds()
                    if life == self.lives:
                        self.samples.append(Sample(life, time.monotonic() - since, rss, fds))
            self.pause(1.0)

    def kill_workers(self) -> None:
        chance = random.Random(f"{self.seed} workers")
        while not self.threads.over.is_set():
            self.pause(chance.uniform(0.3, 0.9) * RESTART_SECONDS)
            if not self.threads.over.is_set():
                self.crew.kill_a_worker(chance)

    def kill_children(self) -> None:
        chance = random.Random(f"{self.seed} children")
        while not self.threads.over.is_set():
            self.pause(chance.uniform(0.1, 0.3) * RESTART_SECONDS)
            self.crew.kill_a_child(chance)

    def fill_up(self) -> None:
        """In the middle the small filesystem is full for a while; the others go on."""
        while self.completed() < TASKS * 0.4:
            if self.threads.over.wait(0.5):
                return
        filler = self.small / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        before = self.rows_on(range(4, DIRECTORIES))
        self.pause(FULL_SECONDS)
        after = self.rows_on(range(4, DIRECTORIES))
        filler.unlink()
        count("full disks")
        assert after > before, "the other directories went on"

    def rows_on(self, numbers: range) -> int:
        files = [self.root / f"d{number}" / CSV for number in numbers]
        return sum(each.read_bytes().count(b"\n") for each in files if each.exists())

    def pause(self, seconds: float) -> None:
        self.threads.over.wait(seconds)

    # --- what must hold ------------------------------------------------------------------

    def finish(self) -> None:
        """Whatever still lies about is handed in."""
        for each in self.crew.workers:
            each.kill()
            each.wait()
        manager = self.crew.start("serve")
        assert self.crew.listens(manager, 60.0)
        self.crew.slots = WORKERS * SLOTS
        assert self.crew.worker().wait(120.0) == 0, self.crew.said()[-3000:]
        wait_until(lambda: not self.unsubmitted(), 60.0, "nothing is left in unsubmitted")
        manager.terminate()
        assert manager.wait(60.0) == 0

    def unsubmitted(self) -> list[str]:
        folders = [self.crew.home.unsubmitted]
        folders += [self.root / f"d{number}" / "unsubmitted" for number in range(DIRECTORIES)]
        return [str(each) for folder in folders for each in folder.glob("*.json")]

    def check(self) -> None:
        for number in range(DIRECTORIES):
            self.check_rows(number)
        assert audit(self.crew.home) == []
        self.crew.cli.ok("verify", seconds=600.0)
        assert "Traceback" not in self.crew.said()
        assert [each for n in range(DIRECTORIES) for each in self.aside(n)] == []

    def aside(self, number: int) -> list[Path]:
        return list((self.root / f"d{number}").glob("*set-aside*"))

    def check_rows(self, number: int) -> None:
        """Exactly the rows of its group, and in one directory those of the second phase too."""
        data = (self.root / f"d{number}" / CSV).read_bytes()
        assert data.endswith(b"\n")
        rows = list(csv.DictReader(data.decode().splitlines()))
        seeds = range(TASKS // DIRECTORIES)
        expected = {(seed, number) for seed in seeds}
        if number == 5:
            expected |= {(seed, group) for seed in seeds[::5] for group in range(DIRECTORIES)}
        found = [(int(row["seed"]), int(row["group"])) for row in rows]
        assert len(found) == len(set(found))
        assert set(found) == expected
        values = [float(row["value"]) for row in rows]
        assert values == [seed / 3 + group for seed, group in found]

    def check_growth(self) -> None:
        """The first lives after the very first one against the last: no trend."""
        first, last = self.lives_of(2), self.lives_of(self.lives - 1)
        rss = [statistics.median(each.rss for each in some) for some in (first, last)]
        fds = [statistics.median(each.fds for each in some) for some in (first, last)]
        print(self.told(rss, fds))
        assert rss[1] <= max(rss[0] * MOST_GROWTH, rss[0] + MOST_GROWTH_BYTES), rss
        assert fds[1] <= fds[0] + MOST_FDS, fds

    def lives_of(self, middle: int) -> list[Sample]:
        """The samples of that life and its neighbours, each without its warm-up."""
        warm = [each for each in self.samples if each.seconds >= WARM_SECONDS]
        return [each for each in warm if abs(each.life - middle) <= 1] or warm or self.samples

    def told(self, rss: list[float], fds: list[float]) -> str:
        seconds = time.monotonic() - self.began
        within = [each / 2**20 for each in self.growth_within()]
        return (
            f"{TASKS} tasks in {seconds:.0f} s; {self.lives} lives of the manager; killed "
            f"{dict(self.crew.kills)}; RSS {rss[0] / 2**20:.1f} MiB at the start, "
            f"{rss[1] / 2**20:.1f} at the end, within a life after its warm-up "
            f"{statistics.median(within or [0]):+.1f} (median); "
            f"descriptors {fds[0]:g} at the start, {fds[1]:g} at the end; highest "
            f"{max(each.rss for each in self.samples) / 2**20:.1f} MiB, "
            f"{max(each.fds for each in self.samples)} descriptors"
        )

    def growth_within(self) -> Iterator[float]:
        """What each whole life gained between its warm-up and its end."""
        for life in range(1, self.lives):
            rss = [e.rss for e in self.samples if e.life == life and e.seconds >= WARM_SECONDS]
            if len(rss) > 1:
                yield rss[-1] - rss[0]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A filesystem with room for the rows and not for much more."""
    need(os.geteuid() == 0, "root, to mount a small filesystem")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    need(subprocess.run(mount, check=False).returncode == 0, "the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_soak(small: Path, home: Home, cli: Cli) -> None:
    """`small` comes first: it is unmounted last, after the audit."""
    soak = Soak(Crew(home, cli), small, seed=1)
    try:
        soak.begin()
        soak.run()
        soak.finish()
        soak.check()
        soak.check_growth()
    finally:
        soak.threads.end()
        soak.crew.end()
