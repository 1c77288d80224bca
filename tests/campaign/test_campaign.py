"""Real processes killed again and again while they work: nothing lost, doubled or torn.

Three workers and two clients of another kind work on tasks of overlapping sweep files, with
results that widen the header, tasks that fail, and files that are added as it goes.  Managers
(while they start, recover, serve), workers, children, `init`, `verify --repair` and `backup` are
killed at random moments.  After every death of a manager, before anything is recovered, each row
for which a client has an ack must stand whole in every CSV.

Seeded: which moments are chosen is the same every time; what they meet is not.
`CAMPAIGN_SEED=7 make crash ARGS="-k campaign"` runs one seed of your choice.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from clients import FAILING, Client
from crew import Crew, Process, Threads
from ledger import CSV, Ledger, whole_rows
from tally import count

from conftest import audit
from sqlqueue.home import Home
from sqlqueue.store import condition
from support import Cli, wait_until

EXPERIMENT = """
import random, time
from ledger import metrics

def measure(seed: int, run) -> dict:
    time.sleep(random.uniform(0.0, 0.04))
    marker = run.directory / "began"
    if seed % 17 == 0 and not marker.exists():
        marker.touch()
        raise ValueError("fails the first time")
    return metrics(seed, "child")

def hopeless(seed: int) -> dict:
    raise ValueError("fails every time")
"""
FOLDERS = ("one", "two", "three/deep")
SWEEP = 60
"""Seeds that each further sweep file adds; it links as many older ones anew."""


SLACK = 0.2
"""How far one kind of kill may be ahead of another, as a share of all."""


@dataclass(frozen=True)
class Size:
    """How many of each are to be killed, and within which time."""

    most: dict[str, int]
    seconds: float


@dataclass
class Campaign:
    """Everybody works, everybody is killed, and then nothing is missing."""

    crew: Crew
    seed: int
    size: Size
    ledger: Ledger
    threads: Threads = field(default_factory=Threads)
    sweeps: int = 0
    clients: list[Client] = field(default_factory=list)

    def chance(self, who: str) -> random.Random:
        return random.Random(f"{self.seed} {who}")

    def run(self) -> None:
        self.begin()
        strikes = [
            self.threads.start(each)
            for each in (self.strike_managers, self.strike_workers, self.strike_children)
        ]
        self.threads.start(self.feed)
        self.threads.start(self.repair)
        self.clients = [self.client(number) for number in range(2)]
        for each in self.clients:
            self.threads.start(each.run)
        self.threads.join(strikes, self.size.seconds)
        self.threads.end()
        self.threads.check()
        self.finish()
        self.check()

    def begin(self) -> None:
        (self.crew.home.root / "trial.py").write_text(EXPERIMENT)
        self.sweep("first", "one", range(2 * SWEEP))
        self.sweep(FAILING, "two", range(5), experiment="trial:hopeless", max_attempts=3)
        self.crew.cli.ok("init", "first.yaml", f"{FAILING}.yaml")
        self.ledger.link("one", range(2 * SWEEP))
        self.sweeps = 2
        self.crew.begin_workers(3, slots=2)

    def sweep(self, name: str, folder: str, seeds: range, **settings: object) -> None:
        phase = {
            "output_dir": folder,
            "experiment": "trial:measure",
            "max_attempts": 1000,
            "combinations": [{"seed": list(seeds)}],
        }
        text = json.dumps({name: phase | settings})
        (self.crew.home.root / f"{name}.yaml").write_text(text)

    def client(self, number: int) -> Client:
        name = f"client-{number}"
        return Client(self.crew.home, self.ledger, name, self.chance(name), self.threads.over)

    def more(self, what: str, lives: Process | None = None) -> bool:
        """Whether kills of that kind go on; waits for the kinds that lag behind.

        Else a busy machine would start workers that never live to start a child.  Waits only
        while `lives`: a manager may be refused, as a command has the queue just then.
        """
        while not self.threads.over.is_set():
            if lives is not None and lives.poll() is not None:
                return True
            if what == "worker":
                self.crew.replace_ended()
            done = {kind: self.crew.kills[kind] / most for kind, most in self.size.most.items()}
            if min(done.values()) >= 1.0:
                return False
            if done[what] <= min(done.values()) + SLACK or self.crew.kills[what] == 0:
                return True
            self.pause(0.05)
        return False

    # --- deaths -----------------------------------------------------------------------------

    def strike_managers(self) -> None:
        """While it starts and recovers, and soon after it listens; checked after each death."""
        chance = self.chance("manager")
        more = True
        while more:
            manager = self.crew.start("serve")
            if chance.random() < 0.65:
                self.crew.listens(manager, 10.0)
                self.pause(chance.uniform(0.03, 1.5))
            else:
                self.pause(chance.uniform(0.03, 0.8))
            more = self.more("manager", manager)
            if self.crew.kill(manager, "manager"):
                count("recoveries")
            self.ledger.check()

    def strike_workers(self) -> None:
        chance = self.chance("worker")
        while self.more("worker"):
            self.pause(chance.uniform(0.2, 1.5))
            self.crew.kill_a_worker(chance)

    def strike_children(self) -> None:
        chance = self.chance("child")
        while self.more("child"):
            self.pause(chance.uniform(0.03, 1.0))
            self.crew.kill_a_child(chance)

    def feed(self) -> None:
        """Adds one sweep file after the other, each by an `init` that is killed and repeated."""
        chance = self.chance("init")
        while not self.threads.over.is_set():
            first = max(0, self.sweeps - 2) * SWEEP + chance.randrange(SWEEP)
            name, folder = f"sweep{self.sweeps}", chance.choice(FOLDERS)
            seeds = range(first, self.sweeps * SWEEP + SWEEP)
            self.sweep(name, folder, seeds)
            if self.insist(chance, "init", f"{name}.yaml"):
                self.ledger.link(folder, seeds)
                self.sweeps += 1
            self.pause(chance.uniform(0.5, 4.0))

    def repair(self) -> None:
        """And copies of the database, of which each that bears its name is whole."""
        chance, number = self.chance("repair"), 0
        while not self.threads.over.is_set():
            self.insist(chance, "verify", "--repair")
            self.pause(chance.uniform(0.5, 3.0))
            number += 1
            self.back_up(chance, self.crew.home.root / f"backup{number}.db")
            self.pause(chance.uniform(0.5, 3.0))

    def back_up(self, chance: random.Random, file: Path) -> None:
        """Killed or not, once: a name that is there at the end is that of a whole copy."""
        process = self.crew.start("backup", str(file))
        if chance.random() < 0.6:
            self.pause(chance.uniform(0.1, 0.6))
            self.crew.kill(process, "command")
        if self.ended(process) == 0:
            assert file.exists()
        if file.exists():
            condition.check_file(file, surely=True)
            file.unlink()

    def insist(self, chance: random.Random, *command: str) -> bool:
        """Runs a command, killed at random or refused, until it has been done once."""
        while not self.threads.over.is_set():
            process = self.crew.start(*command)
            if chance.random() < 0.6:
                self.pause(chance.uniform(0.1, 1.2))
                self.crew.kill(process, "command")
            if self.ended(process) == 0:
                return True
        return False

    def ended(self, process: Process) -> int | None:
        status = process.wait(60.0)
        assert status in (0, 1, -9), self.crew.last_words(process)
        return status

    def pause(self, seconds: float) -> None:
        self.threads.over.wait(seconds)

    # --- the end ----------------------------------------------------------------------------

    def finish(self) -> None:
        """Nobody is killed any more: what is left is done, and what lies about is taken in."""
        for each in self.crew.workers:
            self.crew.kill(each, "worker")
        manager = self.crew.start("serve", "--until-done")
        assert self.crew.listens(manager, 60.0)
        self.crew.slots *= len(self.crew.workers)  # under every name that somebody had
        worker = self.crew.worker()
        for client in self.clients:
            client.leave()
        assert worker.wait(300.0) == 0, self.crew.last_words(worker)
        assert manager.wait(60.0) == 0
        manager = self.crew.start("serve")  # takes in at its start what lies in folders
        assert self.crew.listens(manager, 60.0)
        wait_until(lambda: not self.unsubmitted(), 30.0, f"nothing left: {self.unsubmitted()}")
        manager.terminate()
        assert manager.wait(60.0) == 0

    def unsubmitted(self) -> list[str]:
        return [str(each) for each in self.crew.home.root.glob("**/unsubmitted/*.json")]

    def check(self) -> None:
        self.ledger.check()
        expected = {("COMPLETED", self.ran()), ("FAILED", 5)}
        assert set(self.query("SELECT state, count(*) FROM tasks GROUP BY state")) == expected
        for folder, seeds in self.ledger.linked.items():
            data = (self.crew.home.root / folder / CSV).read_bytes()
            assert data.endswith(b"\n")
            found = {int(each["seed"]) for each in whole_rows(self.crew.home.root / folder / CSV)}
            assert found >= seeds
        assert audit(self.crew.home) == []
        self.crew.cli.ok("verify")
        assert list(self.crew.home.root.glob("**/*set-aside*")) == [], (
            "ours was taken for a person's"
        )
        assert "Traceback" not in self.crew.said()
        self.nobody_is_left()

    def ran(self) -> int:
        """How many tasks there are that do not fail, whoever added them."""
        ((number,),) = self.query("SELECT count(*) FROM tasks WHERE experiment = 'trial:measure'")
        return int(str(number))

    def nobody_is_left(self) -> None:
        def ours() -> list[psutil.Process]:
            found = psutil.process_iter(["cwd"])
            return [each for each in found if each.info["cwd"] == str(self.crew.home.root)]

        wait_until(lambda: not ours(), 30.0, f"every process has ended: {ours()}")

    def query(self, sql: str) -> list[tuple[object, ...]]:
        base = sqlite3.connect(f"file:{self.crew.home.database}?mode=ro", uri=True)
        with closing(base):
            return base.execute(sql).fetchall()

    def told(self) -> str:
        outcomes = dict(self.query("SELECT outcome, count(*) FROM attempts GROUP BY outcome"))
        tails = len(list(self.crew.home.salvage.iterdir()))
        acks = sum(self.ledger.acked.values())
        return (
            f"seed {self.seed}: killed {dict(self.crew.kills)}; {acks} acks heard; {self.sweeps} "
            f"sweep files; attempts {outcomes}; {tails} torn tails cut off"
        )


def fight(home: Home, cli: Cli, seed: int, size: Size, at_least: int = 0) -> None:
    again = f'CAMPAIGN_SEED={seed} make crash ARGS="-k campaign"'
    print(f"seed {seed}; the same once more: {again}")
    cli.environment["PYTHONPATH"] = str(
        Path(__file__).parents[1]
    )  # the experiment's results are those of the ledger
    made = Campaign(Crew(home, cli), seed, size, Ledger(home.root))
    began = time.monotonic()
    try:
        made.run()
    finally:
        made.threads.end()
        made.crew.end()
    print(f"{made.told()}; {time.monotonic() - began:.0f} s")
    assert sum(made.crew.kills.values()) >= at_least


@pytest.mark.timeout(300)
def test_a_short_campaign(home: Home, cli: Cli) -> None:
    fight(home, cli, 1, Size({"manager": 4, "worker": 2, "child": 3}, seconds=200.0))


FULL = Size({"manager": 300, "worker": 250, "child": 400}, seconds=1500.0)
AT_LEAST = 1000
"""Deaths in each campaign, commands included."""


def seeds() -> list[int]:
    chosen = os.environ.get("CAMPAIGN_SEED")
    return [int(chosen)] if chosen else [2, 3, 4]


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", seeds())
def test_a_campaign(home: Home, cli: Cli, seed: int) -> None:
    fight(home, cli, seed, FULL, AT_LEAST)
