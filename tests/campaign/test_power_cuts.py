"""The power of a real disk is cut while managers and workers write to it, database included.

Two clients and a worker work under a manager on a filesystem that forgets what was not synced
(`forgetful.py`).  At a random moment nothing is done any more, everybody is gone, and the disk
comes back with what was durable, and of the rest what a filesystem may have written by itself.
Before anything is recovered each row for which a client has its ack, or of which the manager
said that it is saved, stands whole in every CSV; so it does after the recovery, and at the end
everything has been done and `verify` is clean.

Twice: as a filesystem that hosts share (SQLite with a rollback journal), and as a disk of this
machine (with a log).  A disk that lies about its syncs is found out.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from clients import Client
from crew import Crew, Process, Threads
from forgetful import NOTHING, Disk, forgetful_disk
from ledger import Book, Broken, Ledger, metrics, whole_rows
from power import POLICIES
from tally import count

from conftest import audit
from sqlqueue.home import NAME, Home
from support import Cli, environment, wait_until

EXPERIMENT = """
from ledger import metrics

def measure(seed: int) -> dict:
    return metrics(seed, "child")
"""
FOLDERS = ("one", "two", "three/deep")
SWEEP = 60
"""Seeds that each further sweep file adds; it links as many older ones anew."""
SAVED = re.compile(r"Saved result for \S+_(\d+) to (\S+)/final_results\.csv")


class Outside(Ledger):
    """Clients keep their acks on another machine's disk."""

    books: Path

    def book(self, client: str) -> Book:
        path = self.books / f"{client}.acks"
        return Book(self, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))


class Terminals(Crew):
    """What they say is seen on another machine."""

    def output(self, command: str) -> Path:
        return self.folder / f"{command}.output"

    def said(self) -> str:
        return "\n".join(each.read_text(errors="replace") for each in self.folder.glob("*.output"))

    @property
    def folder(self) -> Path:
        return Path(self.cli.environment["XDG_STATE_HOME"])


@dataclass
class Machine:
    """A queue on a disk whose power is cut again and again."""

    disk: Disk
    crew: Crew
    ledger: Ledger
    seed: int
    policies: tuple[str, ...] = tuple(POLICIES)
    clients: list[Client] = field(default_factory=list)
    sweeps: int = 0
    forgot: int = 0
    heard: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    @property
    def root(self) -> Path:
        return self.crew.home.root

    def begin(self, lie: str) -> None:
        """What is there before the first cut is durable; from then on the disk lies about that."""
        (self.root / "trial.py").write_text(EXPERIMENT)
        files = []
        for each in FOLDERS:
            files.append(self.sweep(each))
            self.added(each)
        self.crew.cli.ok("init", *files)
        self.disk.restart(lie=lie)

    # --- what is asked for ------------------------------------------------------------------

    def sweep(self, folder: str) -> str:
        """A further sweep file; its name."""
        seeds = self.seeds()
        phase = {
            "output_dir": folder,
            "experiment": "trial:measure",
            "max_attempts": 1000,
            "combinations": [{"seed": list(seeds)}],
        }
        path = self.root / f"sweep{self.sweeps}.yaml"
        path.write_text(json.dumps({path.stem: phase}))
        return path.name

    def seeds(self) -> range:
        return range(max(0, self.sweeps - 1) * SWEEP, (self.sweeps + 1) * SWEEP)

    def added(self, folder: str) -> None:
        """An `init` of the latest sweep file has returned."""
        self.ledger.link(folder, self.seeds())
        self.sweeps += 1

    # --- a cut ------------------------------------------------------------------------------

    def live(self, acks: int, *, workers: int = 1) -> None:
        """Everybody works until clients have heard so many acks; then the power is gone."""
        manager, folder = self.start(workers), self.chance.choice(FOLDERS)
        assert self.crew.listens(manager, 60.0), self.crew.said()[-3000:]
        while len(self.ledger.wanted() - self.ledger.acked.keys()) < 2 * SWEEP:
            self.crew.cli.ok("init", self.sweep(folder))
            self.added(folder)
        adding = self.chance.random() < 0.4 and self.crew.start("init", self.sweep(folder))
        threads = self.work()
        enough = self.ledger.heard() + acks
        wait_until(
            lambda: threads.over.is_set() or self.ledger.heard() >= enough, 120.0, f"{acks} acks"
        )
        threads.over.wait(self.chance.uniform(0.0, 0.02))
        threads.check()
        self.look(recovered=True)
        if adding and adding.poll() == 0:
            self.added(folder)
        self.cut(threads)

    def die_early(self, seconds: float) -> None:
        """The power is gone while they begin, recover, or have just begun."""
        self.start(workers=1)
        threads = self.work()
        threads.over.wait(seconds)
        threads.check()
        self.look(recovered=False)
        self.cut(threads)

    def start(self, workers: int) -> Process:
        """The manager, and workers that wait for it."""
        manager = self.crew.start("serve")
        for _ in range(workers):
            self.crew.worker()
        return manager

    def work(self) -> Threads:
        """Two clients, until the threads are over."""
        threads = Threads()
        for number in range(2):
            self.clients.append(self.client(f"client-{number}", threads))
            threads.start(self.clients[-1].run)
        return threads

    def client(self, name: str, threads: Threads) -> Client:
        chance = random.Random(f"{self.seed} {name} {self.disk.cuts}")
        return Client(self.crew.home, self.ledger, name, chance, threads.over)

    def cut(self, threads: Threads) -> None:
        policy = self.chance.choice(self.policies)
        self.disk.cut()
        self.everybody_is_gone()
        threads.end()
        threads.check()
        self.hear()
        self.disk.leave()
        self.forgot += self.disk.power_on(policy)
        count("power cuts")
        try:
            self.ledger.check(recovered=False)
        except Broken as broken:
            raise Broken(f"cut {self.disk.cuts}, {policy}, before the recovery: {broken}") from None

    def look(self, *, recovered: bool) -> None:
        """Whether what was promised before the last cut is there, while others go on."""
        try:
            self.ledger.check(recovered=recovered)
        except Broken as broken:
            raise Broken(f"after cut {self.disk.cuts}, at work: {broken}\n{self.scene()}") from None

    def scene(self) -> str:
        """What there is to see where something is wrong."""
        there = [str(each) for each in sorted(self.root.rglob("*final_results*"))]
        said = self.crew.output("serve").read_text(errors="replace")
        return "\n".join([*there, said[self.heard :][-3000:]])

    def everybody_is_gone(self) -> None:
        """Processes of this machine end with it, those that a worker had started too."""
        running = [each for each in self.crew.started if each.poll() is None]
        below = [child for each in running for child in children(each)]
        for each in running:
            self.crew.kill(each, "process")
        for child in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.crew.started.clear()

    def hear(self) -> None:
        """What the manager said that it had saved was so."""
        text = self.crew.output("serve").read_text(errors="replace")
        whole = text[self.heard : text.rfind("\n") + 1]
        self.heard += len(whole)
        for seed, folder in SAVED.findall(whole):
            self.ledger.ack(int(seed), [folder])

    # --- the end ----------------------------------------------------------------------------

    def finish(self) -> None:
        """What is left is done, and nothing is missing."""
        manager = self.crew.start("serve", "--until-done")
        assert self.crew.listens(manager, 60.0)
        worker = self.crew.worker()
        for each in self.clients[-2:]:
            each.leave()
        assert worker.wait(120.0) == 0, self.crew.said()[-3000:]
        assert manager.wait(60.0) == 0, self.crew.said()[-3000:]
        self.hear()
        self.ledger.check()
        self.crew.cli.ok("verify")
        assert audit(self.crew.home) == []
        for folder, seeds in self.ledger.linked.items():
            found = {
                int(each["seed"]) for each in whole_rows(self.root / folder / "final_results.csv")
            }
            assert found >= seeds, f"{folder}: never run: {sorted(seeds - found)}"
        asides = list(self.root.glob("**/*set-aside*"))
        assert asides == [], "ours was taken for a person's"


def children(process: Process) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@contextlib.contextmanager
def machine(folder: Path, seed: int, *, local: bool, lie: str = NOTHING) -> Iterator[Machine]:
    """A machine with a queue, nobody at work."""
    state = folder / "elsewhere"
    state.mkdir()
    with forgetful_disk(folder / "disk", local=local) as disk:
        cli = Cli(disk.place, environment(state, {"PYTHONPATH": str(Path(__file__).parents[1])}))
        home = Home(disk.place / NAME)
        ledger = Outside(home.root)
        ledger.books = state
        made = Machine(disk, Terminals(home, cli), ledger, seed)
        made.crew.slots = 2
        try:
            made.begin(lie)
            yield made
        finally:
            made.everybody_is_gone()


def test_only_what_nobody_was_promised_may_be_torn(tmp_path: Path) -> None:
    """The check itself: where the power went, in an append that was not synced."""
    file = tmp_path / "final_results.csv"
    lines = [",".join(["seed", *metrics(0, "a")])]
    lines += [",".join(map(str, [each, *metrics(each, "a").values()])) for each in range(4)]
    torn = [*lines[:3], "\0" * 9, lines[4]]
    file.write_text("\n".join([*torn, ""]))
    ledger = Ledger(tmp_path)
    ledger.ack(1, ["."])
    assert ledger.check(recovered=False) == 2
    with pytest.raises(Broken, match="a torn row"):
        ledger.check()
    ledger.ack(3, ["."])
    with pytest.raises(Broken, match=r"acked but not in the CSV: \[3\]"):
        ledger.check(recovered=False)


KINDS = {"shared": False, "local": True}


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut(tmp_path: Path, kind: str) -> None:
    with machine(tmp_path, 1, local=KINDS[kind]) as made:
        made.live(8, workers=0)
        made.live(4, workers=0)


@pytest.mark.crash
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_cuts(tmp_path: Path, kind: str) -> None:
    seed = int(os.environ.get("CAMPAIGN_SEED", "2"))
    with machine(tmp_path, seed, local=KINDS[kind]) as made:
        while made.disk.cuts < 60:
            if made.chance.random() < 0.8:
                made.live(made.chance.randrange(60))
            else:
                made.die_early(made.chance.uniform(0.0, 1.2))
        made.finish()
        count("cuts after which something was forgotten", made.forgot)
        count("acks", made.ledger.heard())
        assert made.forgot > 10
        assert len(made.ledger.acked) > 500


LIES = {
    "the database": ("queue.db*", "at work"),
    "CSVs": ("*final_results.csv*", "before the recovery"),
    "folders": ("*/", "before the recovery"),
}
"""Whose syncs the disk answers without doing them, and when that is seen."""


@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", LIES)
def test_a_disk_that_lies_is_found_out(tmp_path: Path, what: str, kind: str) -> None:
    """The proof is worth something: without these syncs results are lost, and it says so."""
    names, when = LIES[what]
    with machine(tmp_path, 3, local=KINDS[kind], lie=names) as made:
        made.policies = ("nothing unsynced",)
        with pytest.raises(Broken, match=f"{when}: .*: acked but not in the CSV") as found:
            while made.disk.cuts < 20:
                made.live(20, workers=0)
        print(f"a lie about {what}: {str(found.value).splitlines()[0]}")
