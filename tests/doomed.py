"""A machine whose power is cut again and again, and who works on it.

A queue lies on a disk that forgets (`forgetful.py`); manager, worker and two clients work, and
what these heard is kept elsewhere.  Promises: after each cut, before the recovery and after it,
`Broken` says what was promised and is not there; nobody is left at work when the block ends.
What is not here: how often, and which disk (`campaign/test_power_cuts.py`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from clients import Client
from crew import Crew, Process, Threads
from forgetful import NOTHING, Disk, forgetful_disk
from ledger import CSV, Book, Broken, Ledger, whole_rows
from power import POLICIES
from tally import count

from conftest import audit
from sqlqueue.home import NAME, Home
from support import Cli, connect, environment, exchange, wait_until

EXPERIMENT = """
from ledger import metrics

def measure(seed: int) -> dict:
    return metrics(seed, "child")
"""
FOLDERS = ("one", "two", "three/deep")
AILING = ("queue.db*", "final_results.csv", "*.json", "*")
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
    ailing: bool = False
    """Whether now and then some calls of the disk fail before its power is cut."""
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
        self.look("recovered")  # before anything that is missing could be done once more
        while len(self.ledger.wanted() - self.ledger.acked.keys()) < 2 * SWEEP:
            self.crew.cli.ok("init", self.sweep(folder))
            self.added(folder)
        adding = self.chance.random() < 0.4 and self.crew.start("init", self.sweep(folder))
        threads = self.work()
        enough = self.ledger.heard() + acks
        if self.ailing:
            self.ail()
        wait_until(
            lambda: threads.over.is_set() or self.ledger.heard() >= enough, 120.0, f"{acks} acks"
        )
        threads.over.wait(self.chance.uniform(0.0, 0.02))
        threads.check()
        self.look("at work")
        if adding and adding.poll() == 0:
            self.added(folder)
        self.cut(threads)

    def ail(self) -> None:
        """A few syncs, or a few writes, fail in a row, sooner or later."""
        call, names = self.chance.choice(["fsync", "fsync", "write"]), self.chance.choice(AILING)
        times, after = self.chance.randint(1, 5), self.chance.randrange(20)
        self.disk.fail(call, names, errno.EIO, times, after)

    def die_early(self, seconds: float) -> None:
        """The power is gone while they begin, recover, or have just begun."""
        self.start(workers=1)
        threads = self.work()
        threads.over.wait(seconds)
        threads.check()
        self.look("beginning", recovered=False)
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

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """What the manager answers."""
        found = self.crew.home.manager()
        assert found is not None, self.crew.said()[-3000:]
        with connect(self.crew.home.path / str(found["unix_socket"])) as connection:
            return exchange(connection, message)

    def client(self, name: str, threads: Threads) -> Client:
        chance = random.Random(f"{self.seed} {name} {self.disk.cuts}")
        return Client(self.crew.home, self.ledger, name, chance, threads.over)

    def cut(self, threads: Threads) -> None:
        policy = self.chance.choice(self.policies)
        self.disk.cut()
        count("injected errors", self.disk.heal())
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

    def look(self, when: str, *, recovered: bool = True) -> None:
        """Whether what was promised is there, while others go on."""
        try:
            self.ledger.check(recovered=recovered)
        except Broken as broken:
            raise Broken(f"after cut {self.disk.cuts}, {when}: {broken}\n{self.scene()}") from None

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
            found = {int(each["seed"]) for each in whole_rows(self.root / folder / CSV)}
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
        cli = Cli(disk.place, environment(state, {"PYTHONPATH": str(Path(__file__).parent)}))
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
